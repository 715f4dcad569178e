package mobiledistill.demos

import android.Manifest
import android.annotation.SuppressLint
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import android.os.Bundle
import android.widget.Button
import mobiledistill.benchmark.Refused

/** Speech from the microphone: digits once it stops, sentences while they are said. */
class SpeechActivity : Demo("speech") {
    @Volatile private var listening = false
    private lateinit var button: Button

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        val ask = permitted(Manifest.permission.RECORD_AUDIO) { listen() }
        button = Button(this).apply { setOnClickListener { if (listening) listening = false else ask() } }
        column.addView(button)
        show()
    }

    override fun onStop() {
        listening = false
        super.onStop()
    }

    private fun listen() {
        listening = true
        show()
        work {
            try {
                Listening.of(student()).use { hear(it) }
            } finally {
                listening = false
                show()
            }
        }
    }

    @SuppressLint("MissingPermission") // only called with it
    private fun hear(student: Listening) {
        val (channel, encoding) = AudioFormat.CHANNEL_IN_MONO to AudioFormat.ENCODING_PCM_FLOAT
        val least = AudioRecord.getMinBufferSize(student.rate, channel, encoding)
        val bytes = maxOf(least, Float.SIZE_BYTES * student.rate) // a second: a slow call loses nothing
        val source = MediaRecorder.AudioSource.VOICE_RECOGNITION
        val microphone = AudioRecord(source, student.rate, channel, encoding, bytes)
        try {
            if (microphone.state != AudioRecord.STATE_INITIALIZED) throw Refused("The microphone is not to be had.")
            microphone.startRecording()
            val part = FloatArray(student.rate / PARTS_A_SECOND)
            while (listening) {
                val count = microphone.read(part, 0, part.size, AudioRecord.READ_BLOCKING)
                if (count < 0) throw Refused("The microphone stopped ($count).")
                say(student.hear(part.copyOf(count)))
            }
            say(student.end())
        } finally {
            microphone.release()
        }
    }

    private fun show() = runOnUiThread { button.text = if (listening) "Stop" else "Listen" }

    private companion object {
        const val PARTS_A_SECOND = 10
    }
}
