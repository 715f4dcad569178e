package mobiledistill.demos

import android.os.Bundle
import android.widget.Button
import android.widget.EditText

/** Translation from text. */
class TranslationActivity : Demo("translation") {
    private var translator: Translator? = null // the worker's

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        val given = EditText(this).apply { hint = "Where is my book?" }
        column.addView(given, 0)
        column.addView(Button(this).apply {
            text = "Translate"
            setOnClickListener { given.text.toString().let { text -> work { say(translated(text)) } } }
        })
    }

    override fun onDestroy() {
        work { translator?.close() }
        super.onDestroy()
    }

    private fun translated(text: String): String =
        (translator ?: Translator(student()).also { translator = it }).answer(text)
}
