package mobiledistill.benchmark

/** What is asked of the app; `Configuration` of mobiledistill/devices/_android_app.py writes it. */
class Configuration(
    val run: String,
    val mode: String,
    val runtime: String,
    val backend: String,
    val threads: Int,
    val samples: Int,
    val block: Int,
    val files: List<ModelFile>,
    val reference: ModelFile?
) {
    companion object {
        fun read(text: String): Configuration {
            val given = Fields(Json.read(text))
            require(given.number("schema_version") == 1) { "the configuration is of another version of the app" }
            return Configuration(
                run = given.text("run"),
                mode = given.text("mode"),
                runtime = given.text("runtime"),
                backend = given.text("backend"),
                threads = given.number("threads"),
                samples = given.number("samples"),
                block = given.number("block"),
                files = given.list("files").map { modelFile(it) },
                reference = given.optional("reference")?.let { modelFile(it) }
            )
        }

        private fun modelFile(given: Any?): ModelFile {
            val fields = Fields(given)
            return ModelFile(
                model = fields.name("model"),
                inputs = fields.name("inputs"),
                answers = fields.list("answers").map { declared(Fields(it)) },
                outputs = if (fields.optional("outputs") == null) null else fields.name("outputs"),
                signature = fields.optional("signature") as String?
            )
        }

        private fun declared(fields: Fields): Declared {
            val shape = fields.list("shape").map { (it as Long).toInt() }
            return Declared(fields.text("name"), fields.text("dtype"), shape)
        }
    }
}

class ModelFile(
    val model: String,
    val inputs: String,
    val answers: List<Declared>,
    val outputs: String?,
    val signature: String?
)

/** A tensor's name, type in the words of .safetensors, and shape. */
class Declared(val name: String, val dtype: String, val shape: List<Int>)

private class Fields(given: Any?) {
    private val values = requireNotNull(given as? Map<*, *>) { "the configuration has no object where one is due" }

    fun optional(key: String): Any? = values[key]

    fun text(key: String): String = requireNotNull(values[key] as? String) { "the configuration lacks $key" }

    fun number(key: String): Int = requireNotNull(values[key] as? Long) { "the configuration lacks $key" }.toInt()

    fun list(key: String): List<*> = requireNotNull(values[key] as? List<*>) { "the configuration lacks $key" }

    /** A file beside the configuration, never one elsewhere. */
    fun name(key: String): String {
        val found = text(key)
        require('/' !in found && !found.startsWith(".")) { "$key must be a file beside the configuration: $found" }
        return found
    }
}
