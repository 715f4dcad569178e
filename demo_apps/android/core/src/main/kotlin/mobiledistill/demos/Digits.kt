package mobiledistill.demos

import java.util.Locale
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min
import mobiledistill.benchmark.Tensor

/** Which digit is said: `demo_apps/speech`, in the middle second of what was heard. */
class Digits(student: Student) : Listening {
    private val network = student.network("main", listOf("logits"))
    private val labels = student.text("labels.txt").trim().lines()
    private val mean: Float
    private val deviation: Float
    private val heard = ArrayList<FloatArray>()
    override val rate = MEL.rate

    init {
        val numbers = student.json("features.json")
        mean = (numbers["mean"] as Number).toFloat()
        deviation = (numbers["deviation"] as Number).toFloat()
    }

    override fun hear(samples: FloatArray): String {
        heard.add(samples)
        return ""
    }

    override fun end(): String {
        val clip = FloatArray(heard.map { it.size }.sum())
        heard.fold(0) { at, part -> part.copyInto(clip, at); at + part.size }
        heard.clear()
        if (clip.none { it != 0f }) return "Nothing was heard."
        val features = map(clip).also { for (i in it.indices) it[i] = (it[i] - mean) / deviation }
        val given = Tensor.of("features", listOf(1, 1, MEL.bands, FRAMES), features)
        val logits = network.answer(listOf(given)).getValue("logits")
        val best = logits.likeliest()
        val share = 1 / logits.map { exp((it - logits[best]).toDouble()) }.sum()
        return "%s (%.0f %% sure)".format(Locale.ROOT, labels[best], 100 * share)
    }

    override fun close() = network.close()

    /** The clip centred in a second, relative to its loudest band: bands x frames. */
    private fun map(clip: FloatArray): FloatArray {
        val second = FloatArray(CLIP + MEL.window)
        val from = max(0, (clip.size - CLIP) / 2)
        val count = min(clip.size, CLIP)
        clip.copyInto(second, MEL.window / 2 + (CLIP - count) / 2, from, from + count)
        val frames = List(FRAMES) { MEL.power(second, it * MEL.hop) }
        val loudest = max(frames.flatMap { it.asList() }.fold(0f) { most, power -> max(most, power) }, QUIETEST)
        return FloatArray(MEL.bands * FRAMES) { ln(frames[it % FRAMES][it / FRAMES] / loudest + FLOOR) }
    }

    private companion object {
        val MEL = LogMel(rate = 8000, window = 200, hop = 80, fft = 256, bands = 40, lowHz = 60.0, highHz = 4000.0)
        const val FRAMES = 101
        const val CLIP = 80 * (FRAMES - 1)
        const val FLOOR = 1e-5f // of the loudest band
        const val QUIETEST = 1e-10f
    }
}
