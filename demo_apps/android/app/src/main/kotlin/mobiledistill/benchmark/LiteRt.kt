package mobiledistill.benchmark

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** LiteRT, by its CompiledModel. */
class LiteRt : Runtime {
    override val name = "LiteRT"
    override val version = "2.3.0" // as in app/build.gradle.kts: the library does not tell

    override fun load(file: File, asked: ModelFile, backend: String, threads: Int): Model {
        val accelerator = when (backend) {
            "cpu" -> Accelerator.CPU
            "gpu" -> Accelerator.GPU
            "npu" -> Accelerator.NPU
            else -> throw Refused("LiteRT runs on cpu, gpu and npu, not on $backend")
        }
        // Alone first: where that goes, it takes the whole graph.
        val alone = runCatching { CompiledModel.create(file.path, options(threads, accelerator)) }
        if (alone.isSuccess || accelerator == Accelerator.CPU) return LiteRtModel(alone.getOrThrow(), asked, backend)
        val shared = CompiledModel.create(file.path, options(threads, accelerator, Accelerator.CPU))
        return LiteRtModel(shared, asked, "$backend, with the CPU for what it does not take")
    }

    private fun options(threads: Int, vararg accelerators: Accelerator) =
        CompiledModel.Options(*accelerators).apply { cpuOptions = CompiledModel.CpuOptions(numThreads = threads) }
}

private class LiteRtModel(
    private val model: CompiledModel,
    private val asked: ModelFile,
    override val backend: String
) : Model {
    override val signature = asked.signature ?: "main"
    private val inputs = LinkedHashMap<String, TensorBuffer>()
    private val outputs = asked.answers.associate { it.name to model.createOutputBuffer(it.name, asked.signature) }

    override fun bind(inputs: List<Tensor>) {
        for (tensor in inputs) {
            val name = tensor.declared.name
            write(this.inputs.getOrPut(name) { model.createInputBuffer(name, asked.signature) }, tensor)
        }
    }

    override fun run() = model.run(inputs, outputs, asked.signature)

    override fun outputs(): List<Tensor> = asked.answers.map { Tensor(it, read(outputs.getValue(it.name), it)) }

    override fun close() {
        (inputs.values + outputs.values).forEach { it.close() }
        model.close()
    }

    private fun write(buffer: TensorBuffer, tensor: Tensor) {
        val bytes = ByteBuffer.wrap(tensor.bytes).order(ByteOrder.LITTLE_ENDIAN)
        when (tensor.declared.dtype) {
            "F32" -> buffer.writeFloat(FloatArray(tensor.bytes.size / 4).also { bytes.asFloatBuffer().get(it) })
            "I32" -> buffer.writeInt(IntArray(tensor.bytes.size / 4).also { bytes.asIntBuffer().get(it) })
            "I8", "U8" -> buffer.writeInt8(tensor.bytes)
            "BOOL" -> buffer.writeBoolean(BooleanArray(tensor.bytes.size) { tensor.bytes[it] != 0.toByte() })
            else -> throw Refused("LiteRT's Kotlin interface takes no ${tensor.declared.dtype}: ${tensor.declared.name}")
        }
    }

    private fun read(buffer: TensorBuffer, declared: Declared): ByteArray = when (declared.dtype) {
        "F32" -> buffer.readFloat().let { values -> bytes(4 * values.size) { it.asFloatBuffer().put(values) } }
        "I32" -> buffer.readInt().let { values -> bytes(4 * values.size) { it.asIntBuffer().put(values) } }
        "I8", "U8" -> buffer.readInt8()
        "BOOL" -> buffer.readBoolean().let { values -> ByteArray(values.size) { if (values[it]) 1 else 0 } }
        else -> throw Refused("LiteRT's Kotlin interface gives no ${declared.dtype}: ${declared.name}")
    }

    private fun bytes(size: Int, fill: (ByteBuffer) -> Unit): ByteArray =
        ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN).also(fill).array()
}
