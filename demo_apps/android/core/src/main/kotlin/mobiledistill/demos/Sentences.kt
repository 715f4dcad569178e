package mobiledistill.demos

import kotlin.math.ln
import mobiledistill.benchmark.Json
import mobiledistill.benchmark.Tensor

/** What is said, word by word while it is said: `demo_apps/speech/sentences`, the likeliest token of each frame. */
class Sentences(student: Student) : Listening {
    private val mean: FloatArray
    private val deviation: FloatArray
    private val chunkFrames: Int
    private val delayFrames: Int
    private val subsampling: Int
    private val shapes: Map<String, List<Int>>
    private val state: List<Pair<String, String>>
    private val names = (Json.read(student.text("tokens.json")) as List<*>).map { it as String }
    private val network: Network

    private var caches = emptyList<Tensor>()
    private var sound = FloatArray(0) // from the next frame's first sample on
    private var frames = 0
    private var chunk = FloatArray(0)
    private val path = CtcPath()
    override val rate = MEL.rate

    init {
        val facts = student.json("listener.json")
        val number = { key: String -> (facts[key] as Number).toInt() }
        chunkFrames = number("chunk_frames")
        delayFrames = number("delay_frames")
        subsampling = number("subsampling")
        mean = floats(facts["mean"])
        deviation = floats(facts["deviation"])
        shapes = shapes(facts["caches"])
        state = (facts["state"] as List<*>).map { (it as List<*>)[0] as String to it[1] as String }
        network = student.network("main", listOf("logits") + state.map { it.first })
        begin()
    }

    override fun hear(samples: FloatArray): String {
        sound += samples
        var start = 0
        while (start + MEL.window <= sound.size) {
            read(MEL.power(sound, start))
            start += MEL.hop
        }
        sound = sound.copyOfRange(start, sound.size)
        return text()
    }

    override fun end(): String {
        if (frames == 0) hear(FloatArray(MEL.window - sound.size))
        val due = frames + delayFrames // the last frames are answered that much later
        path.most = (due + subsampling - 1) / subsampling
        val rest = (due + chunkFrames - 1) / chunkFrames * chunkFrames - frames
        repeat(rest) { add(FloatArray(MEL.bands)) }
        return text().also { begin() }
    }

    override fun close() = network.close()

    private fun begin() {
        caches = empty(shapes)
        sound = FloatArray(0)
        frames = 0
        chunk = FloatArray(MEL.bands * chunkFrames)
        path.clear()
    }

    private fun read(power: FloatArray) =
        add(FloatArray(MEL.bands) { (ln(power[it] + FLOOR) - mean[it]) / deviation[it] })

    private fun add(frame: FloatArray) {
        val place = frames++ % chunkFrames
        for (band in frame.indices) chunk[band * chunkFrames + place] = frame[band]
        if (place < chunkFrames - 1) return
        val features = Tensor.of("features", listOf(1, 1, MEL.bands, chunkFrames), chunk)
        val answered = network.answer(listOf(features) + caches)
        caches = state.map { (written, read) -> Tensor.of(read, shapes.getValue(read), answered.getValue(written)) }
        path.read(answered.getValue("logits"), names.size)
    }

    /** The words that the tokens spell; an inner part without a beginning starts a word itself. */
    private fun text(): String {
        val words = ArrayList<String>()
        for (name in path.tokens.map { names[it] }) {
            if (name.startsWith("-") && words.isNotEmpty()) {
                words[words.size - 1] += name.drop(1)
            } else {
                words.add(if (name == SPELL) "" else name.removePrefix("-"))
            }
        }
        return words.filter { it.isNotEmpty() }.joinToString(" ")
    }

    private companion object {
        val MEL = LogMel(rate = 16000, window = 400, hop = 160, fft = 512, bands = 64, lowHz = 40.0, highHz = 7600.0)
        const val FLOOR = 2e-4f
        const val SPELL = "_" // starts a spelled word
    }
}

/** CTC's likeliest path, as frames come: repetitions and blanks taken out. */
class CtcPath {
    val tokens = ArrayList<Int>()

    /** Frames that count; what comes behind them is not read. */
    var most = Int.MAX_VALUE
    private var seen = 0
    private var before = BLANK

    fun read(logits: FloatArray, count: Int) {
        for (start in logits.indices step count) {
            if (seen++ >= most) return
            val best = logits.likeliest(start, start + count)
            if (best != before && best != BLANK) tokens.add(best)
            before = best
        }
    }

    fun clear() {
        tokens.clear()
        most = Int.MAX_VALUE
        seen = 0
        before = BLANK
    }

    private companion object {
        const val BLANK = 0
    }
}
