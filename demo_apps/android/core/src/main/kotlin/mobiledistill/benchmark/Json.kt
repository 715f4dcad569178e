package mobiledistill.benchmark

/** Reads JSON into maps, lists, strings, numbers (as Double or Long), booleans and null. */
class Json private constructor(private val text: String) {
    private var at = 0

    companion object {
        fun read(text: String): Any? {
            val reader = Json(text)
            val value = reader.value()
            reader.blanks()
            require(reader.at == text.length) { "the JSON goes on behind its end, at ${reader.at}" }
            return value
        }

        fun quoted(text: String): String {
            val written = StringBuilder("\"")
            for (letter in text) {
                when {
                    letter == '"' || letter == '\\' -> written.append('\\').append(letter)
                    letter < ' ' -> written.append("\\u%04x".format(letter.toInt()))
                    else -> written.append(letter)
                }
            }
            return written.append('"').toString()
        }
    }

    private fun value(): Any? {
        blanks()
        return when (peek()) {
            '{' -> members()
            '[' -> elements()
            '"' -> string()
            else -> word()
        }
    }

    private fun members(): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        expect('{')
        while (!ends('}')) {
            if (found.isNotEmpty()) expect(',')
            blanks()
            val name = string()
            expect(':')
            found[name] = value()
        }
        return found
    }

    private fun elements(): List<Any?> {
        val found = ArrayList<Any?>()
        expect('[')
        while (!ends(']')) {
            if (found.isNotEmpty()) expect(',')
            found.add(value())
        }
        return found
    }

    private fun string(): String {
        val read = StringBuilder()
        expect('"')
        while (peek() != '"') {
            val letter = text[at++]
            read.append(if (letter == '\\') escaped() else letter)
        }
        at++
        return read.toString()
    }

    private fun escaped(): Char {
        val letter = peek()
        at++
        return when (letter) {
            'n' -> '\n'
            't' -> '\t'
            'r' -> '\r'
            'b' -> '\b'
            'f' -> '\u000c'
            'u' -> {
                at += 4
                require(at <= text.length) { "the JSON ends in the middle" }
                text.substring(at - 4, at).toInt(16).toChar()
            }
            else -> letter
        }
    }

    private fun word(): Any? {
        val start = at
        while (at < text.length && (text[at].isLetterOrDigit() || text[at] in "+-.")) at++
        val read = text.substring(start, at)
        return when (read) {
            "true" -> true
            "false" -> false
            "null" -> null
            else -> read.toLongOrNull() ?: requireNotNull(read.toDoubleOrNull()) { "no JSON value: '$read'" }
        }
    }

    private fun ends(closing: Char): Boolean {
        blanks()
        if (peek() != closing) return false
        at++
        return true
    }

    private fun expect(letter: Char) {
        blanks()
        require(peek() == letter) { "the JSON has '${peek()}' in place of '$letter', at $at" }
        at++
    }

    private fun peek(): Char {
        require(at < text.length) { "the JSON ends in the middle" }
        return text[at]
    }

    private fun blanks() {
        while (at < text.length && text[at].isWhitespace()) at++
    }
}
