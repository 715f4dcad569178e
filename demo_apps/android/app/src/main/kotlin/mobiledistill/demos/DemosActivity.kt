package mobiledistill.demos

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout

/** What the app shows when it is opened: a button for each demo. */
class DemosActivity : Activity() {
    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        val column = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        column.fitsSystemWindows = true
        for ((name, demo) in DEMOS) {
            getExternalFilesDir(name) // made by the app itself: into a folder that the shell made, it may not look
            column.addView(Button(this).apply {
                text = name
                setOnClickListener { startActivity(Intent(this@DemosActivity, demo)) }
            })
        }
        setContentView(column)
    }

    private companion object {
        val DEMOS = mapOf(
            "speech" to SpeechActivity::class.java,
            "detection" to DetectionActivity::class.java,
            "translation" to TranslationActivity::class.java
        )
    }
}
