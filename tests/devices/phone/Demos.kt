package mobiledistill.demos

import java.io.File
import mobiledistill.benchmark.Json
import mobiledistill.benchmark.Model
import mobiledistill.benchmark.ModelFile
import mobiledistill.benchmark.Refused
import mobiledistill.benchmark.Runtime
import mobiledistill.benchmark.Safetensors
import mobiledistill.benchmark.Tensor

/** Networks that whoever started this program answers for: a line out, tensors beside it, a line back. */
private class Elsewhere(private val folder: File) : Runtime {
    override val name = "Elsewhere"
    override val version = "1"

    override fun load(file: File, asked: ModelFile, backend: String, threads: Int): Model = object : Model {
        override val signature = asked.signature!!
        override val backend = backend
        private var given = emptyList<Tensor>()

        override fun bind(inputs: List<Tensor>) {
            given = inputs
        }

        override fun run() {
            Safetensors.write(File(folder, "asked.safetensors"), given)
            println("network $signature")
            readLine()
        }

        override fun outputs(): List<Tensor> {
            val answered = Safetensors.read(File(folder, "answered.safetensors"))
            return asked.answers.map { declared -> answered.first { it.declared.name == declared.name } }
        }

        override fun close() = Unit
    }
}

private fun quoted(texts: List<String>) = texts.joinToString(", ", "[", "]") { Json.quoted(it) }

private fun given(folder: File) = Safetensors.read(File(folder, "given.safetensors")).single()

private fun listen(folder: File, listening: Listening): (String) -> String = { part ->
    val samples = given(folder).floats()
    val texts = samples.indices.step(part.toInt())
        .map { listening.hear(samples.copyOfRange(it, minOf(samples.size, it + part.toInt()))) }
    quoted(texts + listening.end())
}

private fun detect(folder: File, detector: Detector): (String) -> String = { width ->
    val rgba = given(folder)
    val (height, stride) = rgba.declared.shape
    val found = detector.find(Picture.ofRgba(rgba.bytes, width.toInt(), height, stride))
    val sides = FloatArray(4 * found.size) { i -> found[i / 4].sides[i % 4] }
    Safetensors.write(File(folder, "found.safetensors"), listOf(Tensor.of("boxes", listOf(found.size, 4), sides)))
    Json.quoted(detector.counted(found))
}

private fun translate(translator: Translator): (String) -> String =
    { text -> Json.quoted(translator.answer(Json.read(text) as String)) }

private fun cut(pieces: Pieces): (String) -> String = { text ->
    val tokens = pieces.encode(Json.read(text) as String)
    "[$tokens, ${Json.quoted(pieces.decode(tokens))}]"
}

private fun flat(rows: Any?) = floats((rows as List<*>).flatMap { it as List<*> })

/** The cases of a golden file that come out otherwise. */
private fun wrong(golden: File): List<String> {
    val cases = (Json.read(golden.readText()) as Map<*, *>)["cases"] as List<*>
    return cases.map { it as Map<*, *> }.filter { case ->
        val found = keepBest(
            flat(case["boxes"]),
            flat(case["probabilities"]),
            (case["least_score"] as Number).toFloat(),
            (case["most_overlap"] as Number).toFloat(),
            (case["most"] as Number).toInt()
        )
        val due = case["kept"] as Map<*, *>
        found.flatMap { it.sides.asList() } != flat(due["boxes"]).asList() ||
            found.map { it.score } != floats(due["scores"]).asList() ||
            found.map { it.label.toLong() } != due["labels"]
    }.map { it["name"] as String }
}

fun main(args: Array<String>) {
    val (what, path) = args
    val folder = File(path)
    if (what == "golden") return println("said ${quoted(wrong(folder))}")
    try {
        val student = Student(folder, Elsewhere(folder))
        val answer = when (what) {
            "speech" -> listen(folder, Listening.of(student))
            "detection" -> detect(folder, Detector(student))
            "translation" -> translate(Translator(student))
            else -> cut(Pieces(student.bytes(what)))
        }
        while (true) {
            val line = readLine() ?: return
            try {
                println("said ${answer(line)}")
            } catch (error: Refused) {
                println("refused ${Json.quoted(error.message!!)}")
            }
        }
    } catch (error: Refused) {
        println("refused ${Json.quoted(error.message!!)}")
    }
}
