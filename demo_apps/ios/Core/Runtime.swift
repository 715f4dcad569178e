import Foundation

/// What runs packages.
protocol Runtime {
    /// Makes a package loadable; once for all that follows.
    func compile(_ package: URL) async throws

    func load(_ units: ComputeUnits, function: String?) throws -> Model

    /// How many operators it would run on which unit; empty where it does not tell.
    func plan(_ units: ComputeUnits, function: String?) async -> [String: Int]
}

/// One function of a package, ready to run.
protocol Model: AnyObject {
    /// The shape of every input, by its name.
    var inputShapes: [String: [Int]] { get }

    func bind(_ inputs: [String: Input]) throws

    func run() throws

    /// Of the last run.
    func outputs() throws -> [String: Tensor]
}

extension Model {
    func answer(to inputs: [String: Input]) throws -> [String: Tensor] {
        try bind(inputs)
        try run()
        return try outputs()
    }
}

/// What the phone tells of itself.
protocol Phone {
    var os: String { get }
    var isSimulator: Bool { get }
    var isLowPower: Bool { get }
    var batteryPercent: Int? { get }
    var thermalState: ThermalState { get }
    /// What the system counts against the app.
    var memoryBytes: Int? { get }
}
