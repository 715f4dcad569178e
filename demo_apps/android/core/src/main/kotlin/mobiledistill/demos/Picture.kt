package mobiledistill.demos

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** RGB, three bytes a pixel, row by row. */
class Picture(val width: Int, val height: Int, val pixels: ByteArray) {
    /**
     * As Pillow scales in `demo_apps/detection`, to the byte: the mean of all that a pixel covers, weighted by a
     * triangle, in integers, first across and then down. (Pictures three times as tall as wide, which no camera gives,
     * Pillow scales down first, and one step of 255 apart.)
     */
    fun scaled(width: Int, height: Int): Picture {
        val across = ByteArray(width * this.height * 3)
        for ((x, weights) in weights(this.width, width).withIndex()) {
            for (y in 0 until this.height) {
                for (colour in 0..2) {
                    across[(y * width + x) * 3 + colour] = weights.sum { pixels[(y * this.width + it) * 3 + colour] }
                }
            }
        }
        val down = ByteArray(width * height * 3)
        for ((y, weights) in weights(this.height, height).withIndex()) {
            for (x in 0 until 3 * width) down[y * 3 * width + x] = weights.sum { across[it * 3 * width + x] }
        }
        return Picture(width, height, down)
    }

    private class Weights(private val first: Int, private val shares: IntArray) {
        inline fun sum(pixel: (Int) -> Byte): Byte {
            var sum = HALF
            for (i in shares.indices) sum += shares[i] * (pixel(first + i).toInt() and 0xff)
            return (sum shr BITS).coerceIn(0, 255).toByte()
        }
    }

    companion object {
        private const val BITS = 22
        private const val HALF = 1 shl (BITS - 1)

        /** Of a camera's frame: four bytes a pixel, the last of which is not looked at, `stride` bytes a row. */
        fun ofRgba(bytes: ByteArray, width: Int, height: Int, stride: Int): Picture {
            val pixels = ByteArray(width * height * 3)
            for (y in 0 until height) {
                for (x in 0 until width) {
                    for (colour in 0..2) pixels[(y * width + x) * 3 + colour] = bytes[y * stride + 4 * x + colour]
                }
            }
            return Picture(width, height, pixels)
        }

        private fun weights(from: Int, to: Int): List<Weights> {
            val scale = from.toDouble() / to
            val reach = max(scale, 1.0)
            return List(to) { place ->
                val middle = (place + 0.5) * scale
                val first = max(0, (middle - reach + 0.5).toInt())
                val last = min(from, (middle + reach + 0.5).toInt())
                val shares = DoubleArray(last - first) { max(0.0, 1 - abs((first + it + 0.5 - middle) / reach)) }
                val whole = shares.sum()
                Weights(first, IntArray(shares.size) { (0.5 + shares[it] / whole * (1 shl BITS)).toInt() })
            }
        }
    }
}
