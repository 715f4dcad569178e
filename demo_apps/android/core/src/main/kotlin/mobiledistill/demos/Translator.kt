package mobiledistill.demos

import mobiledistill.benchmark.Refused
import mobiledistill.benchmark.Tensor

/** English into German, the likeliest token each time: `demo_apps/translation`. */
class Translator(student: Student) : AutoCloseable {
    private val source = Pieces(student.bytes("source.model"))
    private val target = Pieces(student.bytes("target.model"))
    private val limits = student.json("limits.json")
    private val longestSource = number("longest_source")
    private val memory = shapesOf("memory")
    private val caches = shapesOf("caches")
    private val encode = student.network("encode", memory.keys.toList())
    private val step = student.network("step", listOf("logits") + caches.keys.map { "next_$it" })

    /** The translation of a sentence or two; what cannot be translated is refused with what to do. */
    fun answer(given: String): String {
        val text = given.map { if (it.isWhitespace()) ' ' else it }.joinToString("").split(' ')
            .filter { it.isNotEmpty() }.joinToString(" ")
        if (text.isEmpty()) throw Refused("The text is empty; give an English sentence.")
        val unknown = text.codePoints().toArray().map { String(Character.toChars(it)) }.distinct()
            .filter { it.isNotBlank() && Pieces.UNKNOWN in source.encode(it) }
        if (unknown.isNotEmpty()) {
            val listed = unknown.joinToString(" ")
            throw Refused("No training text had the characters $listed; leave them out or spell them.")
        }
        val tokens = source.encode(text)
        if (tokens.size > longestSource) {
            throw Refused(
                "The text has ${tokens.size} tokens, but this file reads at most $longestSource (about " +
                    "${longestSource * 3 / 4} words); give it a sentence at a time."
            )
        }
        return target.decode(translated(tokens))
    }

    override fun close() {
        encode.close()
        step.close()
    }

    private fun translated(tokens: List<Int>): List<Int> {
        val read = Tensor.of("source", listOf(1, longestSource), tokens.toIntArray().copyOf(longestSource))
        val remembered = named(memory, encode.answer(listOf(read)))
        var written = empty(caches)
        val answer = ArrayList<Int>()
        var last = number("begin")
        for (position in 0 until number("longest_target")) {
            val now = listOf(one("token", last), one("position", position), read)
            val answered = step.answer(now + remembered + written)
            last = answered.getValue("logits").likeliest()
            if (last == number("end")) break
            answer.add(last)
            written = named(caches, caches.keys.associateWith { answered.getValue("next_$it") })
        }
        return answer
    }

    private fun named(shapes: Map<String, List<Int>>, values: Map<String, FloatArray>) =
        shapes.map { (name, shape) -> Tensor.of(name, shape, values.getValue(name)) }

    private fun one(name: String, value: Int) = Tensor.of(name, listOf(1, 1), intArrayOf(value))

    private fun number(key: String) = (limits[key] as Number).toInt()

    private fun shapesOf(key: String) =
        shapes(limits[key] ?: throw Refused("limits.json lacks $key, as older runs did: run the demo again."))
}
