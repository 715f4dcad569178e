package mobiledistill.benchmark

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A tensor's bytes, little-endian as phones are. */
class Tensor(val declared: Declared, val bytes: ByteArray) {
    fun floats(): FloatArray = FloatArray(bytes.size / 4).also { littleEndian(bytes).asFloatBuffer().get(it) }

    companion object {
        fun of(name: String, shape: List<Int>, values: FloatArray): Tensor {
            val bytes = ByteArray(4 * values.size).also { littleEndian(it).asFloatBuffer().put(values) }
            return Tensor(Declared(name, "F32", shape), bytes)
        }

        fun of(name: String, shape: List<Int>, values: IntArray): Tensor {
            val bytes = ByteArray(4 * values.size).also { littleEndian(it).asIntBuffer().put(values) }
            return Tensor(Declared(name, "I32", shape), bytes)
        }

        private fun littleEndian(bytes: ByteArray) = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
    }
}

object Safetensors {
    private const val LARGEST_HEADER_BYTES = 1 shl 20

    fun read(file: File): List<Tensor> {
        val whole = file.readBytes()
        require(whole.size >= 8) { "${file.name} is no .safetensors file" }
        val length = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).long
        require(length in 2..minOf(LARGEST_HEADER_BYTES, whole.size - 8)) { "${file.name} is no .safetensors file" }
        val start = 8 + length.toInt()
        val header = Json.read(String(whole, 8, length.toInt(), Charsets.UTF_8)) as Map<*, *>
        return header.filterKeys { it != "__metadata__" }.map { (name, described) ->
            val fields = described as Map<*, *>
            val (from, to) = (fields["data_offsets"] as List<*>).map { (it as Long).toInt() }
            require(from in 0..to && start + to <= whole.size) { "${file.name} is cut off in $name" }
            val shape = (fields["shape"] as List<*>).map { (it as Long).toInt() }
            Tensor(Declared(name as String, fields["dtype"] as String, shape), whole.copyOfRange(start + from, start + to))
        }
    }

    fun write(file: File, tensors: List<Tensor>) {
        var offset = 0
        val members = tensors.map {
            val from = offset
            offset += it.bytes.size
            val shape = it.declared.shape.joinToString(",", "[", "]")
            val dtype = Json.quoted(it.declared.dtype)
            "${Json.quoted(it.declared.name)}:{\"dtype\":$dtype,\"shape\":$shape,\"data_offsets\":[$from,$offset]}"
        }
        val header = members.joinToString(",", "{", "}").toByteArray()
        val padded = header + ByteArray((8 - header.size % 8) % 8) { ' '.toByte() }
        file.outputStream().use { stream ->
            stream.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(padded.size.toLong()).array())
            stream.write(padded)
            tensors.forEach { stream.write(it.bytes) }
        }
    }
}
