package mobiledistill.demos

import android.os.Bundle
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import java.util.concurrent.Executors
import mobiledistill.benchmark.LiteRt
import mobiledistill.benchmark.Refused

/**
 * A demo's screen: a line that says what came out, and one thread on which its student works.
 *
 * @param demo the folder, under the app's own, that its student lies in.
 */
abstract class Demo(private val demo: String) : ComponentActivity() {
    protected val worker = Executors.newSingleThreadExecutor()
    protected lateinit var column: LinearLayout
    private lateinit var line: TextView

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        line = TextView(this).apply { textSize = 24f }
        column = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            addView(line)
        }
        setContentView(column)
    }

    override fun onDestroy() {
        worker.shutdown() // what waits is still done
        super.onDestroy()
    }

    protected fun student(): Student {
        val folder = getExternalFilesDir(demo) ?: throw Refused("This phone has no storage for apps.")
        return Student(folder, LiteRt())
    }

    protected fun say(text: String) = runOnUiThread { line.text = text }

    protected fun work(task: () -> Unit) = worker.execute { attempt(task) }

    /** What goes wrong is said in the line. */
    protected fun attempt(task: () -> Unit) {
        try {
            task()
        } catch (error: Exception) {
            say(error.message ?: error.javaClass.simpleName)
        }
    }

    /** What asks for a permission, where it is not there yet, and goes on with it; to be made in `onCreate`. */
    protected fun permitted(permission: String, goOn: () -> Unit): () -> Unit {
        val asking = registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
            val what = permission.substringAfterLast('.')
            if (granted) goOn() else say("This demo needs $what: allow it in the phone's settings.")
        }
        return { asking.launch(permission) }
    }
}
