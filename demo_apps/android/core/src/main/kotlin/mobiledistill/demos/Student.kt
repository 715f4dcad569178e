package mobiledistill.demos

import java.io.File
import java.io.IOException
import mobiledistill.benchmark.Declared
import mobiledistill.benchmark.Json
import mobiledistill.benchmark.Model
import mobiledistill.benchmark.ModelFile
import mobiledistill.benchmark.Refused
import mobiledistill.benchmark.Runtime
import mobiledistill.benchmark.Tensor

/** What a run of a demo leaves: `student.tflite`, and in `assets` what an app needs around it. */
class Student(private val folder: File, private val runtime: Runtime) {
    fun has(asset: String): Boolean = File(folder, "assets/$asset").isFile

    fun bytes(asset: String): ByteArray = try {
        File(folder, "assets/$asset").readBytes()
    } catch (error: IOException) {
        throw Refused("$folder has no assets/$asset: copy the artifacts of a run there, the folder assets with them.")
    }

    fun text(asset: String): String = String(bytes(asset), Charsets.UTF_8)

    fun json(asset: String): Map<*, *> = Json.read(text(asset)) as Map<*, *>

    /** One signature, ready to be asked for these outputs, whose shapes nobody needs. */
    fun network(signature: String, outputs: List<String>): Network {
        val file = File(folder, "student.tflite")
        if (!file.isFile) throw Refused("$folder has no ${file.name}: copy the artifacts of a run there.")
        val answers = outputs.map { Declared(it, "F32", emptyList()) }
        return Network(runtime.load(file, ModelFile(file.name, "", answers, null, signature), "cpu", THREADS))
    }

    private companion object {
        const val THREADS = 2
    }
}

/** One signature of a file: tensors in, their answers by name. */
class Network(private val model: Model) : AutoCloseable {
    fun answer(inputs: List<Tensor>): Map<String, FloatArray> {
        model.bind(inputs)
        model.run()
        return model.outputs().associate { it.declared.name to it.floats() }
    }

    override fun close() = model.close()
}

/** Of tensors, by their names. */
internal fun shapes(json: Any?): Map<String, List<Int>> = (json as Map<*, *>).entries.associate { (name, shape) ->
    name as String to (shape as List<*>).map { (it as Number).toInt() }
}

/** Tensors of these shapes that hold nothing yet. */
internal fun empty(shapes: Map<String, List<Int>>): List<Tensor> =
    shapes.map { (name, shape) -> Tensor.of(name, shape, FloatArray(shape.fold(1, Int::times))) }

internal fun floats(json: Any?): FloatArray = (json as List<*>).map { (it as Number).toFloat() }.toFloatArray()

/** The place of the largest value, the first of equal ones. */
internal fun FloatArray.likeliest(from: Int = 0, until: Int = size): Int {
    var best = from
    for (place in from until until) if (this[place] > this[best]) best = place
    return best - from
}
