import Foundation
import MobiledistillNative

/// Which of ten digits is said; of longer sound the middle second counts.
final class Digits: Listener {
    let rate = Double(MD_DIGITS.rate)

    private struct Facts: Decodable {
        let mean: Double
        let deviation: Double
    }

    private let model: Model
    private let mel: Mel
    private let facts: Facts
    private let labels: [String]
    private var recorded: [Float] = []

    init(_ files: DemoFiles, _ model: Model) throws {
        self.model = model
        mel = try Mel(MD_DIGITS)
        facts = try files.json("features.json", as: Facts.self)
        labels = try String(decoding: files.data("labels.txt"), as: UTF8.self).split(separator: "\n").map(String.init)
    }

    func hear(_ samples: [Float]) throws -> String {
        recorded += samples
        return "…"
    }

    func finish() throws -> String {
        let shape = [1, 1, Int(MD_DIGITS_BANDS), Int(MD_DIGITS_FRAMES)]
        var map = [Float](repeating: 0, count: shape.reduce(1, *))
        guard md_digits_map(mel.tables, recorded, recorded.count, &map) == 1 else { throw Refused("memory is short") }
        let features = map.map { (Double($0) - facts.mean) / facts.deviation }
        let answered = try model.answer(to: ["features": Input(shape: shape, type: .float32, values: features)])
        guard let logits = answered["logits"]?.values, logits.count == labels.count, let best = logits.max() else {
            throw Refused("the package is none of the digits demo")
        }
        let share = 1 / logits.reduce(0.0) { $0 + exp(Double($1 - best)) }
        return "\(labels[logits.firstIndex(of: best) ?? 0]) (\(Int((100 * share).rounded())) % sure)"
    }
}
