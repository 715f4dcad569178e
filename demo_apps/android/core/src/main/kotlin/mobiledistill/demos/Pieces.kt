package mobiledistill.demos

import java.nio.ByteBuffer
import java.nio.ByteOrder
import mobiledistill.benchmark.Refused

/** A vocabulary that sentencepiece learned by byte pairs, read from its .model: text to token numbers and back. */
class Pieces(model: ByteArray) {
    private val texts = ArrayList<String>()
    private val numbers = HashMap<String, Int>()
    private val scores = ArrayList<Float>()
    private val normal: Normal

    init {
        var algorithm = 0L
        var rules = ByteArray(0)
        try {
            Fields(model).forEach { field, value ->
                when (field) {
                    1 -> addPiece(value as ByteArray)
                    2 -> Fields(value as ByteArray).forEach { name, kind -> if (name == 3) algorithm = kind as Long }
                    3 -> rules = value as ByteArray
                }
            }
            normal = Normal(rules)
        } catch (error: RuntimeException) { // whatever it is that damaged bytes lead to
            throw Refused("The vocabulary is damaged: run the demo again.")
        }
        if (algorithm != BYTE_PAIRS) throw Refused("The vocabulary was not learned by byte pairs: run the demo again.")
    }

    /** What has no token is `UNKNOWN`, once for each run of it. */
    fun encode(text: String): List<Int> {
        val written = normal.of(text)
        val parts = written.codePoints().toArray().map { String(Character.toChars(it)) }.toMutableList()
        while (true) {
            val place = bestMerge(parts) ?: break
            parts[place - 1] += parts.removeAt(place)
        }
        val tokens = parts.map { numbers[it] ?: UNKNOWN }
        return tokens.filterIndexed { place, token -> token != UNKNOWN || place == 0 || tokens[place - 1] != UNKNOWN }
    }

    /** Without those that stand for no piece of a word. */
    fun decode(tokens: List<Int>): String =
        tokens.filter { it > LAST_SPECIAL }.joinToString("") { texts[it] }.replace(SPACE, ' ').trimStart(' ')

    /** Where the second part of the neighbours stands that make the best piece, the first of equal ones. */
    private fun bestMerge(parts: List<String>): Int? {
        var best: Int? = null
        var most = Float.NEGATIVE_INFINITY
        for (place in 1 until parts.size) {
            val score = scores[numbers[parts[place - 1] + parts[place]] ?: continue]
            if (score > most) {
                best = place
                most = score
            }
        }
        return best
    }

    private fun addPiece(bytes: ByteArray) {
        var text = ""
        var score = 0f
        var kind = NORMAL
        Fields(bytes).forEach { field, value ->
            when (field) {
                1 -> text = String(value as ByteArray, Charsets.UTF_8)
                2 -> score = java.lang.Float.intBitsToFloat((value as Long).toInt())
                3 -> kind = (value as Long).toInt()
            }
        }
        if (kind == NORMAL) numbers[text] = texts.size
        texts.add(text)
        scores.add(score)
    }

    companion object {
        const val UNKNOWN = 1
        internal const val SPACE = '\u2581'
        private const val LAST_SPECIAL = 3
        private const val NORMAL = 1
        private const val BYTE_PAIRS = 2L
    }
}

/** The rules by which text is made alike before it is cut: what becomes of a run of bytes, the longest one first. */
private class Normal(rules: ByteArray) {
    private val units: IntArray
    private val replacements: ByteArray

    init {
        var map = ByteArray(0)
        Fields(rules).forEach { field, value -> if (field == 2) map = value as ByteArray }
        val read = ByteBuffer.wrap(map).order(ByteOrder.LITTLE_ENDIAN)
        val size = if (map.isEmpty()) 0 else read.int
        units = IntArray(size / 4) { read.int }
        replacements = map.copyOfRange(minOf(map.size, 4 + size), map.size)
    }

    /** Blanks become one mark each, which also stands before the first word. */
    fun of(text: String): String {
        val bytes = text.toByteArray()
        val written = StringBuilder()
        var at = 0
        while (at < bytes.size) {
            val (length, replaced) = longest(bytes, at)
            written.append(replaced)
            at += length
        }
        val words = written.split(' ').filter { it.isNotEmpty() }
        return words.joinToString("") { Pieces.SPACE + it }
    }

    /** A walk through a double array: each unit holds a letter, whether a run ends behind it, and where to go on. */
    private fun longest(bytes: ByteArray, from: Int): Pair<Int, String> {
        var length = 0
        var found = 0
        var node = if (units.isEmpty()) 0 else offset(units[0])
        for (at in from until if (units.isEmpty()) from else bytes.size) {
            val letter = bytes[at].toInt() and 0xff
            node = node xor letter
            val unit = units[node]
            if (unit and LABEL != letter) break
            node = node xor offset(unit)
            if (unit and ENDS != 0) {
                length = at + 1 - from
                found = units[node] and Int.MAX_VALUE
            }
        }
        if (length > 0) {
            val end = (found until replacements.size).first { replacements[it] == 0.toByte() }
            return length to String(replacements, found, end - found, Charsets.UTF_8)
        }
        val first = bytes[from].toInt() and 0xff
        val one = if (first < 0x80) 1 else if (first < 0xe0) 2 else if (first < 0xf0) 3 else 4
        return one to String(bytes, from, one, Charsets.UTF_8)
    }

    private fun offset(unit: Int) = (unit ushr 10) shl ((unit and (1 shl 9)) ushr 6)

    private companion object {
        const val LABEL = Int.MIN_VALUE or 0xff
        const val ENDS = 1 shl 8
    }
}

/** The fields of a message of Protocol Buffers: numbers as Long, all else as ByteArray. */
private class Fields(bytes: ByteArray) {
    private val read = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)

    fun forEach(use: (Int, Any) -> Unit) {
        while (read.hasRemaining()) {
            val key = number().toInt()
            val value: Any = when (key and 7) {
                0 -> number()
                1 -> read.long
                2 -> ByteArray(number().toInt()).also { read.get(it) }
                5 -> read.int.toLong()
                else -> throw IllegalArgumentException("no field begins with $key")
            }
            use(key ushr 3, value)
        }
    }

    private fun number(): Long {
        var found = 0L
        var shift = 0
        while (true) {
            val byte = read.get().toInt()
            found = found or ((byte.toLong() and 0x7f) shl shift)
            if (byte >= 0) return found
            shift += 7
        }
    }
}
