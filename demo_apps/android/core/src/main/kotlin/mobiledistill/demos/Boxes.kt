package mobiledistill.demos

import kotlin.math.max
import kotlin.math.min

/** One answer of a detector: left, top, right and bottom, how sure it is, and the number of its class. */
class Box(val sides: FloatArray, val score: Float, val label: Int)

/**
 * Non-maximum suppression, class by class, as `demo_apps.detection.keep_best`: of answers that overlap only the surest
 * stays, equal ones in the order of their classes and cells.
 *
 * @param boxes four numbers a cell.
 * @param probabilities one number a cell and class.
 */
fun keepBest(
    boxes: FloatArray,
    probabilities: FloatArray,
    leastScore: Float = 0.01f,
    mostOverlap: Float = 0.6f,
    most: Int = 100
): List<Box> {
    val cells = boxes.size / 4
    val classes = if (cells == 0) 0 else probabilities.size / cells
    val kept = ArrayList<Box>()
    for (label in 0 until classes) {
        val surestFirst = (0 until cells)
            .map { Box(boxes.copyOfRange(4 * it, 4 * it + 4), probabilities[it * classes + label], label) }
            .filter { it.score >= leastScore }
            .sortedByDescending { it.score } // stable
        val survivors = ArrayList<Box>()
        for (box in surestFirst) {
            if (survivors.size == most) break
            if (survivors.none { covers(it.sides, box.sides, mostOverlap) }) survivors.add(box)
        }
        kept.addAll(survivors)
    }
    return kept.sortedByDescending { it.score }.take(most)
}

/** Whether two overlap by more than that, intersection over union; without a division, as the reference does it. */
private fun covers(one: FloatArray, other: FloatArray, mostOverlap: Float): Boolean {
    val width = min(one[2], other[2]) - max(one[0], other[0])
    val height = min(one[3], other[3]) - max(one[1], other[1])
    val shared = max(width, 0f) * max(height, 0f)
    return !(shared <= mostOverlap * (area(one) + area(other) - shared))
}

private fun area(box: FloatArray) = max(box[2] - box[0], 0f) * max(box[3] - box[1], 0f)
