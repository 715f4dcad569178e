import MobiledistillNative

/// Which words are said, read from a stream of sound as it comes in.
final class Sentences: Listener {
    static let asset = "listener.json"

    private struct Facts: Decodable {
        let sampleRate: Double
        let chunkFrames: Int
        let delayFrames: Int
        let mean: [Float]
        let deviation: [Float]
        let caches: [String: [Int]]
        /// Pairs of what a call writes and what the next one reads.
        let state: [[String]]

        enum CodingKeys: String, CodingKey {
            case mean, deviation, caches, state
            case sampleRate = "sample_rate"
            case chunkFrames = "chunk_frames"
            case delayFrames = "delay_frames"
        }
    }

    private let model: Model
    private let mel: Mel
    private let facts: Facts
    private let names: [String]
    private let window = Int(MD_SENTENCES.window)
    private let hop = Int(MD_SENTENCES.hop)
    private let bands = Int(MD_SENTENCES.bands)
    private var waiting: [Float] = [] // sound that is no whole frame yet
    private var frames: [[Float]] = [] // frames that are no whole chunk yet
    private var caches: [String: Tensor] = [:]
    private var logits: [Float] = []

    var rate: Double { facts.sampleRate }

    init(_ files: DemoFiles, _ model: Model) throws {
        self.model = model
        mel = try Mel(MD_SENTENCES)
        facts = try files.json(Self.asset, as: Facts.self)
        names = try files.json("tokens.json", as: [String].self)
        let isWhole = facts.mean.count == bands && facts.deviation.count == bands && !names.isEmpty
        guard isWhole, facts.state.allSatisfy({ $0.count == 2 }) else {
            throw Refused("\(Self.asset) is of another version of the demo")
        }
        caches = facts.caches.mapValues { Tensor(shape: $0, values: Array(repeating: 0, count: $0.reduce(1, *))) }
    }

    /// What has been said so far; the last second is still to come.
    func hear(_ samples: [Float]) throws -> String {
        waiting += samples
        var start = 0
        var frame = [Float](repeating: 0, count: bands)
        while start + window <= waiting.count {
            waiting.withUnsafeBufferPointer { sound in
                md_sentences_frame(mel.tables, sound.baseAddress! + start, &frame)
            }
            frames.append((0..<bands).map { (frame[$0] - facts.mean[$0]) / facts.deviation[$0] })
            start += hop
            if frames.count == facts.chunkFrames { try read() }
        }
        waiting.removeFirst(start)
        return text()
    }

    /// All that was said: silence follows until the network has answered to the end.
    func finish() throws -> String {
        let silence = [Float](repeating: 0, count: bands) // the mean frame, as in training
        for _ in 0..<(facts.delayFrames + facts.chunkFrames) {
            frames.append(silence)
            if frames.count == facts.chunkFrames { try read() }
        }
        return text()
    }

    /// One chunk through the network.
    private func read() throws {
        let features = (0..<bands).flatMap { band in frames.map { Double($0[band]) } }
        frames = []
        let shape = [1, 1, bands, facts.chunkFrames]
        var inputs = caches.mapValues { Input(shape: $0.shape, type: .float32, values: $0.values.map(Double.init)) }
        inputs["features"] = Input(shape: shape, type: .float32, values: features)
        let answered = try model.answer(to: inputs)
        guard let heard = answered["logits"]?.values, heard.count % names.count == 0 else {
            throw Refused("the package is none of the sentences demo")
        }
        logits += heard
        for pair in facts.state { caches[pair[1]] = answered[pair[0]] }
    }

    private func text() -> String {
        let count = logits.count / names.count
        var tokens = [Int32](repeating: 0, count: count + 1)
        let found = md_ctc_greedy(logits, count, names.count, &tokens)
        return Self.words(of: tokens.prefix(found).map { names[Int($0)] }).joined(separator: " ")
    }

    /// What belongs to the word before begins with a minus; a spelled word begins with an underscore.
    static func words(of names: [String]) -> [String] {
        var words: [String] = []
        for name in names {
            if name.hasPrefix("-"), let last = words.popLast() {
                words.append(last + name.dropFirst())
            } else {
                words.append(name == "_" ? "" : String(name.hasPrefix("-") ? name.dropFirst() : name[...]))
            }
        }
        return words.filter { !$0.isEmpty }
    }
}
