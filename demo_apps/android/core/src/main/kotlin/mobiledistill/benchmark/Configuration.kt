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
        fun read(text: String): Configuration = of(Json.read(text)) {
            require(number("schema_version") == 1) { "the configuration is of another version of the app" }
            Configuration(
                run = text("run"),
                mode = text("mode"),
                runtime = text("runtime"),
                backend = text("backend"),
                threads = number("threads"),
                samples = number("samples"),
                block = number("block"),
                files = list("files").map { modelFile(it) },
                reference = optional("reference")?.let { modelFile(it) }
            )
        }

        private fun modelFile(given: Any?) = of(given) {
            ModelFile(
                model = name("model"),
                inputs = name("inputs"),
                answers = list("answers").map { declared(it) },
                outputs = if (optional("outputs") == null) null else name("outputs"),
                signature = optional("signature") as String?
            )
        }

        private fun declared(given: Any?) = of(given) {
            Declared(text("name"), text("dtype"), list("shape").map { (it as Long).toInt() })
        }

        /** An object, all of whose fields are read: what this app does not know may not be left out silently. */
        private fun <T> of(given: Any?, build: Fields.() -> T): T {
            val fields = Fields(given)
            val built = fields.build()
            val unread = fields.unread.firstOrNull()
            require(unread == null) { "the configuration has $unread, which this app does not know: build it again" }
            return built
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

    val unread = values.keys.toMutableSet()

    fun optional(key: String): Any? = values[key].also { unread.remove(key) }

    fun text(key: String): String = requireNotNull(optional(key) as? String) { "the configuration lacks $key" }

    fun number(key: String): Int = requireNotNull(optional(key) as? Long) { "the configuration lacks $key" }.toInt()

    fun list(key: String): List<*> = requireNotNull(optional(key) as? List<*>) { "the configuration lacks $key" }

    /** A file beside the configuration, never one elsewhere. */
    fun name(key: String): String {
        val found = text(key)
        require('/' !in found && !found.startsWith(".")) { "$key must be a file beside the configuration: $found" }
        return found
    }
}
