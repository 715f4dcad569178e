import Foundation
import MobiledistillNative

/// Text into pieces of words and back.
final class Vocabulary {
    private let pieces: OpaquePointer

    init(_ model: Data) throws {
        let made = model.withUnsafeBytes { bytes in
            md_pieces_new(bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count)
        }
        guard let made else { throw Refused("the vocabulary is damaged: copy it again") }
        pieces = made
    }

    deinit {
        md_pieces_free(pieces)
    }

    func tokens(of text: String) throws -> [Int32] {
        let bytes = text.utf8.count
        var found = [Int32](repeating: 0, count: 3 * bytes + 1) // what is written as more than one sign may grow
        let count = text.withCString { md_pieces_encode(pieces, $0, bytes, &found, found.count) }
        guard count >= 0 else { throw Refused("memory is short") }
        return Array(found.prefix(count))
    }

    func text(of tokens: [Int32]) -> String {
        let room = md_pieces_decode(pieces, tokens, tokens.count, nil, 0) + 1
        var written = [CChar](repeating: 0, count: room)
        _ = md_pieces_decode(pieces, tokens, tokens.count, &written, room)
        return String(cString: written)
    }
}
