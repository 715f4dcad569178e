import Foundation

/// A text into another language, token by token, the likeliest each time.
final class Translator {
    private struct Limits: Decodable {
        let longestSource: Int
        let longestTarget: Int
        let begin: Int32
        let end: Int32

        enum CodingKeys: String, CodingKey {
            case begin, end
            case longestSource = "longest_source"
            case longestTarget = "longest_target"
        }
    }

    private static let unknown: Int32 = 1
    private let encoder: Model
    private let stepper: Model
    private let source: Vocabulary
    private let target: Vocabulary
    private let limits: Limits

    /// - Parameters:
    ///   - encoder: the package's function `encode`, asked once a text.
    ///   - stepper: its function `step`, asked once a token.
    init(_ files: DemoFiles, encoder: Model, stepper: Model) throws {
        self.encoder = encoder
        self.stepper = stepper
        source = try Vocabulary(files.data("source.model"))
        target = try Vocabulary(files.data("target.model"))
        limits = try files.json("limits.json", as: Limits.self)
    }

    func translate(_ text: String) throws -> String {
        let asked = try source.tokens(of: text)
        guard !asked.contains(Self.unknown) else { throw Refused("no training text had one of these characters") }
        guard asked.count <= limits.longestSource else {
            let most = limits.longestSource
            throw Refused("this is too long, \(asked.count) tokens of \(most): give a sentence at a time")
        }
        let padded = asked + Array(repeating: 0, count: limits.longestSource - asked.count)
        let reading = ["source": Input(shape: [1, padded.count], type: .int32, values: padded.map(Double.init))]
        var inputs = try encoder.answer(to: reading).mapValues(Self.again).merging(reading) { $1 }
        let caches = Set(stepper.inputShapes.keys).subtracting(inputs.keys).subtracting(["token", "position"])
        for name in caches {
            let shape = stepper.inputShapes[name] ?? []
            inputs[name] = Input(shape: shape, type: .float32, values: Array(repeating: 0, count: shape.reduce(1, *)))
        }
        return target.text(of: try written(from: inputs, caches))
    }

    private func written(from start: [String: Input], _ caches: Set<String>) throws -> [Int32] {
        var inputs = start
        var tokens: [Int32] = []
        var last = limits.begin
        for position in 0..<limits.longestTarget {
            inputs["token"] = Input(shape: [1, 1], type: .int32, values: [Double(last)])
            inputs["position"] = Input(shape: [1, 1], type: .int32, values: [Double(position)])
            let answered = try stepper.answer(to: inputs)
            guard let logits = answered["logits"]?.values, let best = logits.max(),
                let place = logits.firstIndex(of: best)
            else { throw Refused("the package is none of the translation demo") }
            last = Int32(place)
            if last == limits.end { break }
            tokens.append(last)
            for name in caches { inputs[name] = answered["next_\(name)"].map(Self.again) }
        }
        return tokens
    }

    /// What a call wrote, for the next one to read.
    private static func again(_ tensor: Tensor) -> Input {
        Input(shape: tensor.shape, type: .float32, values: tensor.values.map(Double.init))
    }
}
