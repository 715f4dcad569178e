package mobiledistill.benchmark

import java.io.File

/** What runs model files. */
interface Runtime {
    val name: String
    val version: String

    fun load(file: File, asked: ModelFile, backend: String, threads: Int): Model
}

/** One signature of one file, ready to run. */
interface Model : AutoCloseable {
    val signature: String

    /** What computes, as far as the runtime tells. */
    val backend: String

    /** What the next runs read; may be called again. */
    fun bind(inputs: List<Tensor>)

    fun run()

    fun outputs(): List<Tensor>
}

/** What was given does not fit; other failures are the runtime's. */
class Refused(message: String) : Exception(message)
