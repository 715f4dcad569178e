package mobiledistill.benchmark

import java.io.File

/** A runtime whose models answer what they are given: the app's core, run without a phone. */
private class Echo : Runtime {
    override val name = "Echo"
    override val version = "1"

    override fun load(file: File, asked: ModelFile, backend: String, threads: Int): Model {
        if (!file.exists()) throw Refused("there is no ${file.name}")
        return EchoModel(asked, backend)
    }
}

private class EchoModel(private val asked: ModelFile, override val backend: String) : Model {
    override val signature = asked.signature ?: "main"
    private var given = emptyList<Tensor>()

    override fun bind(inputs: List<Tensor>) {
        given = inputs
    }

    override fun run() = Thread.sleep(0, 100_000)

    override fun outputs() = given.zip(asked.answers) { tensor, declared ->
        Tensor(Declared(declared.name, tensor.declared.dtype, tensor.declared.shape), tensor.bytes)
    }

    override fun close() = Unit
}

fun main(args: Array<String>) {
    val folder = File(args[0])
    Benchmark(folder, Echo(), ::println).run(Configuration.read(File(folder, "config.json").readText()))
}
