import Foundation

/// Measures what a configuration asks for. It takes no means and drops nothing: the computer does statistics.
struct Benchmark {
    let folder: URL
    let runtime: Runtime
    let phone: Phone

    func carryOut(_ asked: Configuration) async -> BenchmarkResult {
        var units: [UnitResult] = []
        do {
            try await runtime.compile(folder.appendingPathComponent(asked.model))
            for unit in asked.computeUnits {
                var measured = try measure(unit, asked)
                // Afterwards: to make a plan is to fit the model to the Neural Engine too, which hides the first load.
                measured.planned = await runtime.plan(unit, function: asked.function)
                units.append(measured)
            }
        } catch {
            return result(of: asked.run, units: units, error: error)
        }
        return result(of: asked.run, units: units, error: nil)
    }

    func result(of run: String, units: [UnitResult], error: Error?) -> BenchmarkResult {
        BenchmarkResult(
            schema: 1,
            run: run,
            os: phone.os,
            simulator: phone.isSimulator,
            lowPower: phone.isLowPower,
            batteryPercent: phone.batteryPercent,
            error: error.map { Self.line(of: $0) },
            units: units
        )
    }

    private func measure(_ unit: ComputeUnits, _ asked: Configuration) throws -> UnitResult {
        let thermalBefore = phone.thermalState
        let memoryBefore = phone.memoryBytes
        let firstLoadMs = try timedMs { _ = try runtime.load(unit, function: asked.function) }
        var loaded: Model?
        let secondLoadMs = try timedMs { loaded = try runtime.load(unit, function: asked.function) }
        guard let model = loaded else { throw Refused("the model was loaded, and is not there") }
        try model.bind(asked.inputs)
        let firstRunMs = try timedMs { try model.run() }
        for _ in 0..<asked.warmUp { try model.run() }
        var samplesMs: [Double] = []
        samplesMs.reserveCapacity(asked.samples)
        var peak = phone.memoryBytes
        for _ in 0..<asked.samples {
            samplesMs.append(try timedMs { try model.run() })
            peak = [peak, phone.memoryBytes].compactMap { $0 }.max()
        }
        return UnitResult(
            unit: unit,
            samplesMs: samplesMs,
            firstLoadMs: firstLoadMs,
            secondLoadMs: secondLoadMs,
            firstRunMs: firstRunMs,
            thermalBefore: thermalBefore,
            thermalAfter: phone.thermalState,
            peakMemoryBytes: peak.flatMap { peak in memoryBefore.map { max(0, peak - $0) } },
            planned: [:],
            outputs: try model.outputs()
        )
    }

    private func timedMs(_ body: () throws -> Void) rethrows -> Double {
        let clock = ContinuousClock()
        let started = clock.now
        try body()
        let (seconds, attoseconds) = started.duration(to: clock.now).components
        return Double(seconds) * 1e3 + Double(attoseconds) / 1e15
    }

    private static func line(of error: Error) -> String {
        let words = (error as? LocalizedError)?.errorDescription ?? String(describing: error)
        return String(words.prefix(300)).replacingOccurrences(of: "\n", with: " ")
    }
}
