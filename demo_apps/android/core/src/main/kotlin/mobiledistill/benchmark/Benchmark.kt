package mobiledistill.benchmark

import java.io.File
import java.util.Locale
import kotlin.math.abs

/**
 * Runs what a configuration asks for, as mdharness does, and says it in the same lines of JSON: one for every phase, so
 * that a process that dies leaves word of how far it came, then one with "result" or "error".
 */
class Benchmark(private val folder: File, private val runtime: Runtime, private val say: (String) -> Unit) {
    fun run(asked: Configuration) {
        try {
            phase("start")
            val result = when (asked.mode) {
                "latency" -> latency(asked)
                "memory" -> memory(asked)
                else -> throw Refused("there is no mode ${asked.mode}")
            }
            say("{\"result\": $result}")
        } catch (error: Throwable) { // also a library that does not load: the computer must hear of it
            val kind = if (error is Refused) "input" else "failure"
            val message = (error.message ?: error.javaClass.simpleName).lineSequence().first()
            say("{\"error\": {\"kind\": \"$kind\", \"message\": ${Json.quoted(message)}}}")
        }
    }

    private fun latency(asked: Configuration): String {
        phase("load")
        val files = asked.files.map { Subject(it, asked.backend) }
        // On the processor always: it tells the phone's pace, and every phone has one.
        val reference = asked.reference?.let { Subject(it, "cpu") }
        val every = files + listOfNotNull(reference)
        every.forEach { it.load(asked.threads) }
        phase("inputs")
        every.forEach { it.bind() }
        phase("run")
        every.forEach { it.firstRunMs = it.timedNs() / 1e6 }
        every.forEach { it.warm() }
        val preemptedBefore = preemptions()
        sample(files, reference, asked)
        val preempted = (preemptions() - preemptedBefore).toDouble() / (asked.samples * every.size)
        files.forEach { it.writeOutputs() }
        val told = files.joinToString(", ", "[", "]") { it.told() }
        val referenceNs = reference?.samplesNs?.toString() ?: "null"
        return "{\"schema\": 1, \"files\": $told, \"reference_ns\": $referenceNs, " +
            "\"preempted_per_run\": ${decimal(preempted)}, \"runtime\": ${Json.quoted(runtime.name)}, " +
            "\"version\": ${Json.quoted(runtime.version)}}"
    }

    /** Blocks of each in turns, the order turned round every time, each round behind the reference. */
    private fun sample(files: List<Subject>, reference: Subject?, asked: Configuration) {
        var order = files
        for (start in 0 until asked.samples step asked.block) {
            val count = minOf(asked.block, asked.samples - start)
            for (one in listOfNotNull(reference) + order) {
                repeat(SWITCH_RUNS) { one.timedNs() }
                repeat(count) { one.samplesNs.add(one.timedNs()) }
            }
            order = order.reversed()
        }
    }

    private fun memory(asked: Configuration): String {
        val one = Subject(asked.files.single(), asked.backend)
        File("/proc/self/clear_refs").runCatching { writeText("5") } // puts the high-water mark back, where allowed
        val before = status("VmRSS")
        phase("load")
        one.model = one.loaded(asked.threads)
        phase("inputs")
        one.bind()
        phase("run")
        repeat(MEMORY_RUNS) { one.timedNs() }
        val peak = status("VmHWM")
        val added = if (before == null || peak == null) null else maxOf(0L, peak - before) * 1024
        return "{\"schema\": 1, \"peak_memory_bytes\": $added}"
    }

    private fun phase(name: String) = say("{\"phase\": \"$name\"}")

    private inner class Subject(private val asked: ModelFile, private val backend: String) {
        lateinit var model: Model
        val samplesNs = ArrayList<Long>()
        var firstRunMs = 0.0
        private var loadColdMs = 0.0
        private var loadWarmMs = 0.0
        private var batch = 1

        fun loaded(threads: Int): Model = runtime.load(File(folder, asked.model), asked, backend, threads)

        fun load(threads: Int) {
            var started = System.nanoTime()
            loaded(threads).close()
            loadColdMs = (System.nanoTime() - started) / 1e6
            started = System.nanoTime()
            model = loaded(threads)
            loadWarmMs = (System.nanoTime() - started) / 1e6
        }

        fun bind() {
            val inputs = Safetensors.read(File(folder, asked.inputs))
            batch = inputs.firstOrNull()?.declared?.shape?.firstOrNull()?.takeIf { it > 0 } ?: 1
            model.bind(inputs)
        }

        fun timedNs(): Long {
            val started = System.nanoTime()
            model.run()
            return System.nanoTime() - started
        }

        /** Until the pace no longer changes. */
        fun warm() {
            val started = System.nanoTime()
            var last = Double.POSITIVE_INFINITY
            while (true) {
                val pace = List(WARM_WINDOW) { timedNs() }.sorted()[WARM_WINDOW / 2].toDouble()
                val taken = (System.nanoTime() - started) / 1e9
                if (taken > WARM_AT_MOST_S || taken > WARM_AT_LEAST_S && abs(pace / last - 1) < WARM_STABLE) return
                last = pace
            }
        }

        fun writeOutputs() {
            if (asked.outputs == null) return
            model.run()
            Safetensors.write(File(folder, asked.outputs), model.outputs())
        }

        fun told(): String =
            "{\"load_cold_ms\": ${decimal(loadColdMs)}, \"load_warm_ms\": ${decimal(loadWarmMs)}, " +
                "\"first_run_ms\": ${decimal(firstRunMs)}, \"batch\": $batch, " +
                "\"signature\": ${Json.quoted(model.signature)}, \"backend\": ${Json.quoted(model.backend)}, " +
                "\"samples_ns\": $samplesNs}"
    }

    private companion object {
        const val SWITCH_RUNS = 2
        const val MEMORY_RUNS = 3
        const val WARM_WINDOW = 10
        const val WARM_STABLE = 0.05
        const val WARM_AT_LEAST_S = 0.05
        const val WARM_AT_MOST_S = 2.0

        fun decimal(value: Double): String = "%.6f".format(Locale.ROOT, value)

        fun status(field: String, file: String = "/proc/self/status"): Long? =
            File(file).runCatching { readLines() }.getOrDefault(emptyList())
                .firstOrNull { it.startsWith("$field:") }
                ?.let { line -> line.filter { it.isDigit() }.toLongOrNull() }

        /** Of the thread that measures. */
        fun preemptions(): Long = status("nonvoluntary_ctxt_switches", "/proc/thread-self/status") ?: 0
    }
}
