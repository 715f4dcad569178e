import Foundation

/// The folder that the computer and the app share.
struct Exchange {
    let folder: URL

    private var question: URL { folder.appendingPathComponent("config.json") }
    private var answer: URL { folder.appendingPathComponent("result.json") }

    /// Whether a computer asks for a measurement.
    var isAsked: Bool { FileManager.default.fileExists(atPath: question.path) }

    /// Carries out what is asked and answers it, whatever happens.
    func carryOut(with runtime: Runtime, on phone: Phone) async throws {
        let data = try Data(contentsOf: question)
        // At once: an app that dies while it measures must not measure again when somebody opens it.
        try FileManager.default.removeItem(at: question)
        let benchmark = Benchmark(folder: folder, runtime: runtime, phone: phone)
        let result: BenchmarkResult
        do {
            let asked = try Configuration.read(data)
            result = await benchmark.carryOut(asked)
        } catch {
            result = benchmark.result(of: Self.run(in: data), units: [], error: error)
        }
        do {
            try write(result)
        } catch let error as EncodingError { // JSON has no word for what is not a number
            try write(benchmark.result(of: result.run, units: [], error: error))
        }
    }

    /// Under its name only once it is whole.
    private func write(_ result: BenchmarkResult) throws {
        try JSONEncoder().encode(result).write(to: answer, options: .atomic)
    }

    /// The name of a run whose configuration cannot be read.
    private static func run(in data: Data) -> String {
        let read = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
        return read?["run"] as? String ?? ""
    }
}
