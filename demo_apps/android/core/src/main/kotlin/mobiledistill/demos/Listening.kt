package mobiledistill.demos

/** Hears sound as it comes. */
interface Listening : AutoCloseable {
    /** Samples a second that it hears. */
    val rate: Int

    /** What is understood so far, after these samples in -1..1 too; any number of them. */
    fun hear(samples: FloatArray): String

    /** What was understood in all; what is heard from now on is something new. */
    fun end(): String

    companion object {
        /** For the student of either task. */
        fun of(student: Student): Listening = if (student.has("listener.json")) Sentences(student) else Digits(student)
    }
}
