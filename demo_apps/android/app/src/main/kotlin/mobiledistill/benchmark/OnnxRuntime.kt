package mobiledistill.benchmark

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** ONNX Runtime. */
class OnnxRuntime : Runtime {
    private val environment = OrtEnvironment.getEnvironment()
    override val name = "onnxruntime"
    override val version: String = environment.version

    override fun load(file: File, asked: ModelFile, backend: String, threads: Int): Model {
        if (backend == "cpu") return model(file, asked, backend, backend, threads, alone = false)
        return try { // alone first: where that goes, it takes the whole graph
            model(file, asked, backend, backend, threads, alone = true)
        } catch (_: OrtException) {
            model(file, asked, backend, "$backend, with the CPU for what it does not take", threads, alone = false)
        }
    }

    private fun model(
        file: File,
        asked: ModelFile,
        backend: String,
        obtained: String,
        threads: Int,
        alone: Boolean
    ): Model {
        val options = OrtSession.SessionOptions()
        options.setIntraOpNumThreads(threads)
        if (alone) options.addConfigEntry("session.disable_cpu_ep_fallback", "1")
        when (backend) {
            "cpu" -> Unit
            "xnnpack" -> options.addXnnpack(mapOf("intra_op_num_threads" to threads.toString()))
            "nnapi" -> options.addNnapi()
            "qnn" -> options.addQnn(mapOf("backend_path" to "libQnnHtp.so"))
            else -> throw Refused("onnxruntime runs on cpu, xnnpack, nnapi and qnn, not on $backend")
        }
        return OnnxModel(environment, environment.createSession(file.path, options), asked, obtained)
    }
}

private class OnnxModel(
    private val environment: OrtEnvironment,
    private val session: OrtSession,
    private val asked: ModelFile,
    override val backend: String
) : Model {
    override val signature = asked.signature ?: "main"
    private val inputs = LinkedHashMap<String, OnnxTensor>()
    private var last: OrtSession.Result? = null

    override fun bind(inputs: List<Tensor>) {
        for (tensor in inputs) {
            val name = tensor.declared.name
            if (name !in session.inputNames) throw Refused("the file has no input $name")
            val data = ByteBuffer.allocateDirect(tensor.bytes.size).order(ByteOrder.nativeOrder())
            data.put(tensor.bytes).rewind()
            val shape = LongArray(tensor.declared.shape.size) { tensor.declared.shape[it].toLong() }
            this.inputs.put(name, OnnxTensor.createTensor(environment, data, shape, type(tensor.declared)))?.close()
        }
    }

    override fun run() {
        last?.close()
        last = session.run(inputs)
    }

    override fun outputs(): List<Tensor> = asked.answers.map { declared ->
        val value = checkNotNull(last).get(declared.name).orElseThrow { Refused("the file has no output ${declared.name}") }
        val data = (value as OnnxTensor).byteBuffer
        val shape = value.info.shape.map { it.toInt() }
        Tensor(Declared(declared.name, declared.dtype, shape), ByteArray(data.remaining()).also { data.get(it) })
    }

    override fun close() {
        last?.close()
        inputs.values.forEach { it.close() }
        session.close()
    }

    private fun type(declared: Declared): OnnxJavaType = when (declared.dtype) {
        "F32" -> OnnxJavaType.FLOAT
        "F64" -> OnnxJavaType.DOUBLE
        "F16" -> OnnxJavaType.FLOAT16
        "I8" -> OnnxJavaType.INT8
        "U8" -> OnnxJavaType.UINT8
        "I16" -> OnnxJavaType.INT16
        "I32" -> OnnxJavaType.INT32
        "I64" -> OnnxJavaType.INT64
        "BOOL" -> OnnxJavaType.BOOL
        else -> throw Refused("onnxruntime takes no ${declared.dtype}: ${declared.name}")
    }
}
