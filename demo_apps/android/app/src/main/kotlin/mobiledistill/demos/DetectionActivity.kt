package mobiledistill.demos

import android.Manifest
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.os.Bundle
import android.widget.ImageView
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.core.content.ContextCompat

/** Detection from the camera: every frame that there is time for, with its boxes. */
class DetectionActivity : Demo("detection") {
    private lateinit var view: ImageView
    private var detector: Detector? = null // the worker's

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        view = ImageView(this).apply { adjustViewBounds = true }
        column.addView(view)
        val ask = permitted(Manifest.permission.CAMERA) { watch() }
        view.post { ask() }
    }

    override fun onDestroy() {
        work { detector?.close() }
        super.onDestroy()
    }

    private fun watch() {
        val coming = ProcessCameraProvider.getInstance(this)
        val begin = { attempt { coming.get().bindToLifecycle(this, CameraSelector.DEFAULT_BACK_CAMERA, frames()) } }
        coming.addListener(begin, ContextCompat.getMainExecutor(this))
    }

    private fun frames(): ImageAnalysis {
        val frames = ImageAnalysis.Builder()
            .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
            .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
            .setOutputImageRotationEnabled(true)
            .build()
        frames.setAnalyzer(worker) { frame -> frame.use { attempt { see(it) } } }
        return frames
    }

    private fun see(frame: ImageProxy) {
        val detector = this.detector ?: Detector(student()).also { this.detector = it }
        val plane = frame.planes[0]
        val bytes = ByteArray(plane.buffer.remaining()).also { plane.buffer.duplicate().get(it) }
        val found = detector.find(Picture.ofRgba(bytes, frame.width, frame.height, plane.rowStride))
        val drawn = drawn(frame.toBitmap(), found)
        say(detector.counted(found))
        runOnUiThread { view.setImageBitmap(drawn) }
    }

    private fun drawn(frame: Bitmap, found: List<Box>): Bitmap {
        val drawn = frame.copy(Bitmap.Config.ARGB_8888, true)
        val canvas = Canvas(drawn)
        val pen = Paint().apply { style = Paint.Style.STROKE; strokeWidth = 2f }
        for (box in found) {
            pen.color = COLOURS[box.label % COLOURS.size]
            canvas.drawRect(box.sides[0], box.sides[1], box.sides[2], box.sides[3], pen)
        }
        return drawn
    }

    private companion object {
        val COLOURS = intArrayOf(Color.YELLOW, Color.RED, Color.BLUE, Color.GREEN, Color.MAGENTA, Color.CYAN)
    }
}
