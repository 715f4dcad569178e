package mobiledistill.demos

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import mobiledistill.benchmark.Tensor

/** What is in a picture, and where: `demo_apps/detection`. */
class Detector(student: Student) : AutoCloseable {
    private val facts = student.json("detection.json")
    private val image = facts["image"] as Map<*, *>
    private val width = number(image["width"]).toInt()
    private val height = number(image["height"]).toInt()
    private val padding = number(image["padding"]).toByte()
    private val leastScore = number(facts["least_score"]).toFloat()
    private val mostOverlap = number(facts["most_overlap"]).toFloat()
    private val network = student.network("main", listOf("boxes", "scores"))

    /** Names, by the numbers of the boxes' labels. */
    val classes: List<String> = (facts["classes"] as List<*>).map { it as String }

    /** Boxes in pixels of the picture, the surest first. */
    fun find(picture: Picture): List<Box> {
        val scale = min(width.toDouble() / picture.width, height.toDouble() / picture.height)
        val image = Tensor.of("image", listOf(1, 3, height, width), planes(fitted(picture, scale)))
        val answered = network.answer(listOf(image))
        val logits = answered.getValue("scores")
        val scores = FloatArray(logits.size) { 1 / (1 + exp(-logits[it])) }
        return keepBest(answered.getValue("boxes"), scores, leastScore, mostOverlap)
            .map { box -> Box(FloatArray(4) { box.sides[it] / scale.toFloat() }, box.score, box.label) }
    }

    /** How many of each class: `1 Platelets, 14 RBC`. */
    fun counted(found: List<Box>): String = classes.indices
        .map { label -> found.count { it.label == label } to classes[label] }
        .filter { (count, _) -> count > 0 }
        .joinToString { (count, name) -> "$count $name" }
        .ifEmpty { "nothing found" }

    override fun close() = network.close()

    /** Its shape kept, at the upper left; the rest is grey. */
    private fun fitted(picture: Picture, scale: Double): Picture {
        val small = picture.scaled(side(picture.width * scale), side(picture.height * scale))
        val pixels = ByteArray(3 * width * height) { padding }
        for (y in 0 until small.height) {
            small.pixels.copyInto(pixels, 3 * y * width, 3 * y * small.width, 3 * (y + 1) * small.width)
        }
        return Picture(width, height, pixels)
    }

    private fun side(length: Double) = max(1, round(length).toInt())

    /** Colour by colour, 0 to 1. */
    private fun planes(picture: Picture): FloatArray {
        val size = width * height
        return FloatArray(3 * size) { (picture.pixels[it % size * 3 + it / size].toInt() and 0xff) / 255f }
    }

    private fun number(json: Any?): Number = json as Number
}
