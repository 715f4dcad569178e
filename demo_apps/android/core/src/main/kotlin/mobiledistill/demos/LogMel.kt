package mobiledistill.demos

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import kotlin.math.sin

/**
 * Power in bands of equal width on the mel scale, frame by frame, as `demo_apps/speech` computes it.
 *
 * @param window samples of a frame, under a Hann window.
 * @param hop samples from one frame to the next.
 * @param fft samples of the transform: a power of two, at least the window.
 */
class LogMel(
    val rate: Int,
    val window: Int,
    val hop: Int,
    private val fft: Int,
    val bands: Int,
    lowHz: Double,
    highHz: Double
) {
    private val bins = fft / 2 + 1
    private val hann = FloatArray(window) { (0.5 - 0.5 * cos(2 * PI * it / (window - 1))).toFloat() }
    private val cosines = DoubleArray(fft / 2) { cos(2 * PI * it / fft) }
    private val sines = DoubleArray(fft / 2) { -sin(2 * PI * it / fft) }
    private val filters: List<FloatArray>
    private val real = DoubleArray(fft)
    private val imaginary = DoubleArray(fft)

    init {
        require(fft and (fft - 1) == 0 && window <= fft) { "the transform must be a power of two that holds the window" }
        val low = mel(lowHz)
        val corners = List(bands + 2) { hertz(low + (mel(highHz) - low) * it / (bands + 1)) }
        filters = List(bands) { band ->
            FloatArray(bins) { bin ->
                val at = bin * (rate / 2.0) / (bins - 1)
                val rising = (at - corners[band]) / (corners[band + 1] - corners[band])
                val falling = (corners[band + 2] - at) / (corners[band + 2] - corners[band + 1])
                max(0.0, min(rising, falling)).toFloat()
            }
        }
    }

    /** Of the frame whose first sample is at `start`. */
    fun power(samples: FloatArray, start: Int): FloatArray {
        for (i in 0 until fft) real[i] = if (i < window) (samples[start + i] * hann[i]).toDouble() else 0.0
        imaginary.fill(0.0)
        transform()
        return FloatArray(bands) { band ->
            var sum = 0.0
            for (bin in 0 until bins) {
                val weight = filters[band][bin]
                if (weight > 0) sum += weight * (real[bin] * real[bin] + imaginary[bin] * imaginary[bin])
            }
            sum.toFloat()
        }
    }

    /** In place, radix 2. */
    private fun transform() {
        for (i in 0 until fft) {
            val mirrored = Integer.reverse(i) ushr (Integer.numberOfLeadingZeros(fft) + 1)
            if (i < mirrored) real[i] = real[mirrored].also { real[mirrored] = real[i] }
        }
        var length = 2
        while (length <= fft) {
            for (start in 0 until fft step length) {
                for (k in 0 until length / 2) {
                    val c = cosines[k * (fft / length)]
                    val s = sines[k * (fft / length)]
                    val a = start + k
                    val b = a + length / 2
                    val r = real[b] * c - imaginary[b] * s
                    val i = real[b] * s + imaginary[b] * c
                    real[b] = real[a] - r
                    imaginary[b] = imaginary[a] - i
                    real[a] += r
                    imaginary[a] += i
                }
            }
            length *= 2
        }
    }

    private companion object {
        fun mel(hertz: Double) = 2595 * log10(1 + hertz / 700)

        fun hertz(mel: Double) = 700 * (10.0.pow(mel / 2595) - 1)
    }
}
