package mobiledistill.benchmark

import android.app.Activity
import android.os.Build
import android.os.Bundle
import android.os.PowerManager
import android.os.Process
import android.util.Log
import android.view.WindowManager
import java.io.File
import kotlin.concurrent.thread

/**
 * `am start -S -W -n mobiledistill.benchmark/.BenchmarkActivity --es prepare RUN` makes the folder RUN, so that it is the
 * app's own; with `--es run RUN` its `config.json` is carried out and answered by `result.json`.
 */
class BenchmarkActivity : Activity() {
    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        val power = getSystemService(PowerManager::class.java)
        if (power.isSustainedPerformanceModeSupported) window.setSustainedPerformanceMode(true)
        val files = getExternalFilesDir(null) ?: return Log.e(TAG, "there is no external storage").ignored()
        intent.getStringExtra("prepare")?.let { name -> folder(files, name)?.mkdirs() }
        intent.getStringExtra("run")?.let { name -> folder(files, name)?.let { carryOut(name, it) } }
    }

    /** Any app may start this one: a name that leaves the folder is refused. */
    private fun folder(files: File, name: String): File? =
        if (Regex("run-[0-9a-f]+").matches(name)) File(files, name) else null

    private fun carryOut(run: String, folder: File) = thread(name = "benchmark") {
        Process.setThreadPriority(Process.THREAD_PRIORITY_DISPLAY)
        val partial = File(folder, "result.json.partial")
        val say = { line: String -> partial.appendText("$line\n") }
        try {
            val asked = Configuration.read(File(folder, "config.json").readText())
            val runtime = if (asked.runtime == "litert") LiteRt() else OnnxRuntime()
            Benchmark(folder, runtime, say).run(asked)
        } catch (error: Exception) { // of the configuration
            say("{\"error\": {\"kind\": \"input\", \"message\": ${Json.quoted(error.message ?: "no configuration")}}}")
        }
        partial.renameTo(File(folder, "result.json"))
        Log.i(TAG, "$run is done on Android ${Build.VERSION.RELEASE}")
    }

    private fun Int.ignored() = Unit

    private companion object {
        const val TAG = "mobiledistill"
    }
}
