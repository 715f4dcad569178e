import Foundation

/// What the app answers, `Documents/result.json`; mobiledistill/devices/_ios.py reads it.
struct BenchmarkResult: Codable {
    let schema: Int
    let run: String
    let os: String
    let simulator: Bool
    let lowPower: Bool
    let batteryPercent: Int?
    /// One line; what was measured before it happened stands in `units` all the same.
    let error: String?
    let units: [UnitResult]

    enum CodingKeys: String, CodingKey {
        case schema, run, os, simulator, error, units
        case lowPower = "low_power"
        case batteryPercent = "battery_percent"
    }
}

/// What was measured while Core ML could use one choice of units.
struct UnitResult: Codable {
    let unit: ComputeUnits
    let samplesMs: [Double]
    /// In which iOS fits the model to its Neural Engine, unless it has done that before.
    let firstLoadMs: Double
    let secondLoadMs: Double
    let firstRunMs: Double
    let thermalBefore: ThermalState
    let thermalAfter: ThermalState
    /// The largest footprint behind a run, less that before the first load.
    let peakMemoryBytes: Int?
    /// Operators by unit: Apple's estimate of where they run.
    var planned: [String: Int]
    let outputs: [String: Tensor]

    enum CodingKeys: String, CodingKey {
        case unit, planned, outputs
        case samplesMs = "samples_ms"
        case firstLoadMs = "first_load_ms"
        case secondLoadMs = "second_load_ms"
        case firstRunMs = "first_run_ms"
        case thermalBefore = "thermal_before"
        case thermalAfter = "thermal_after"
        case peakMemoryBytes = "peak_memory_bytes"
    }
}

enum ThermalState: String, Codable {
    case nominal, fair, serious, critical
}

/// One array that a model wrote, in rows.
struct Tensor: Codable {
    let shape: [Int]
    let values: [Float]
}
