import CoreML
import CryptoKit

/// Core ML, on the units that it is told to use.
final class CoreMLRuntime: Runtime {
    private var compiled: URL?

    /// Core ML finds what it has fitted to the Neural Engine by the compiled package's path, so one package lies in one
    /// place in every process: otherwise each would be fitted anew, and every first load be cold.
    func compile(_ package: URL) async throws {
        let files = FileManager.default
        guard files.fileExists(atPath: package.path) else { throw Refused("there is no \(package.lastPathComponent)") }
        let folder = URL.cachesDirectory.appendingPathComponent("compiled")
        let place = folder.appendingPathComponent(try Self.digest(of: package)).appendingPathExtension("mlmodelc")
        if !files.fileExists(atPath: place.path) {
            let made = try await MLModel.compileModel(at: package)
            try files.createDirectory(at: folder, withIntermediateDirectories: true)
            try files.moveItem(at: made, to: place)
        }
        compiled = place
    }

    func load(_ units: ComputeUnits, function: String?) throws -> Model {
        guard let compiled else { throw Refused("the package was not compiled") }
        return CoreMLModel(try MLModel(contentsOf: compiled, configuration: Self.configuration(units, function)))
    }

    func plan(_ units: ComputeUnits, function: String?) async -> [String: Int] {
        guard #available(iOS 17.4, *), let compiled, let configuration = try? Self.configuration(units, function),
            let plan = try? await MLComputePlan.load(contentsOf: compiled, configuration: configuration),
            case .program(let program) = plan.modelStructure,
            let asked = program.functions[function ?? "main"] ?? program.functions.values.first
        else { return [:] }
        var counted: [String: Int] = [:]
        Self.count(asked.block, of: plan, into: &counted)
        return counted
    }

    /// Of a package's files and their names.
    private static func digest(of package: URL) throws -> String {
        var hash = SHA256()
        for name in try FileManager.default.subpathsOfDirectory(atPath: package.path).sorted() {
            hash.update(data: Data("\(name)\n".utf8))
            let file = package.appendingPathComponent(name)
            if let data = FileManager.default.contents(atPath: file.path) { hash.update(data: data) } // none of a folder
        }
        return hash.finalize().prefix(16).map { String(format: "%02x", $0) }.joined()
    }

    private static func configuration(_ units: ComputeUnits, _ function: String?) throws -> MLModelConfiguration {
        let configuration = MLModelConfiguration()
        switch units {
        case .all: configuration.computeUnits = .all
        case .cpuAndNeuralEngine: configuration.computeUnits = .cpuAndNeuralEngine
        case .cpuAndGPU: configuration.computeUnits = .cpuAndGPU
        case .cpuOnly: configuration.computeUnits = .cpuOnly
        }
        if let function {
            guard #available(iOS 18.0, *) else { throw Refused("packages of several functions need iOS 18") }
            configuration.functionName = function
        }
        return configuration
    }

    @available(iOS 17.4, *)
    private static func count(
        _ block: MLModelStructure.Program.Block, of plan: MLComputePlan, into counted: inout [String: Int]
    ) {
        for operation in block.operations {
            for inner in operation.blocks { count(inner, of: plan, into: &counted) }
            guard let usage = plan.deviceUsage(for: operation) else { continue } // a constant is nobody's work
            switch usage.preferred {
            case .cpu: counted["CPU", default: 0] += 1
            case .gpu: counted["GPU", default: 0] += 1
            case .neuralEngine: counted["NeuralEngine", default: 0] += 1
            @unknown default: counted["another unit", default: 0] += 1
            }
        }
    }
}

/// One function of a package in Core ML.
final class CoreMLModel: Model {
    private let model: MLModel
    private var bound: MLFeatureProvider?
    private var answered: MLFeatureProvider?

    init(_ model: MLModel) {
        self.model = model
    }

    var inputShapes: [String: [Int]] {
        model.modelDescription.inputDescriptionsByName.compactMapValues { described in
            described.multiArrayConstraint?.shape.map(\.intValue)
        }
    }

    func bind(_ inputs: [String: Input]) throws {
        var arrays: [String: MLMultiArray] = [:]
        for (name, described) in model.modelDescription.inputDescriptionsByName {
            guard let input = inputs[name] else { throw Refused("the input \(name) is missing") }
            guard let constraint = described.multiArrayConstraint else { throw Refused("\(name) is no array") }
            arrays[name] = try Self.array(input, of: constraint.dataType, called: name)
        }
        bound = try MLDictionaryFeatureProvider(dictionary: arrays)
    }

    func run() throws {
        guard let bound else { throw Refused("there are no inputs") }
        // Here, in a function that waits: Core ML's other `prediction` hands the work to another thread.
        answered = try autoreleasepool { try model.prediction(from: bound) }
    }

    func outputs() throws -> [String: Tensor] {
        guard let answered else { throw Refused("the model did not run yet") }
        var found: [String: Tensor] = [:]
        for name in answered.featureNames {
            guard let array = answered.featureValue(for: name)?.multiArrayValue else { continue }
            // The Neural Engine writes half floats, in rows that may be padded; this undoes both.
            let converted = MLShapedArray<Float>(converting: array)
            found[name] = Tensor(shape: converted.shape, values: converted.scalars)
        }
        return found
    }

    private static func array(
        _ input: Input, of type: MLMultiArrayDataType, called name: String
    ) throws -> MLMultiArray {
        guard input.shape.reduce(1, *) == input.values.count else {
            throw Refused("the values of \(name) do not fill its shape")
        }
        let array = try MLMultiArray(shape: input.shape.map { NSNumber(value: $0) }, dataType: type)
        switch type {
        case .float32:
            array.withUnsafeMutableBufferPointer(ofType: Float.self) { places, _ in
                for (index, value) in input.values.enumerated() { places[index] = Float(value) }
            }
        case .int32:
            array.withUnsafeMutableBufferPointer(ofType: Int32.self) { places, _ in
                for (index, value) in input.values.enumerated() { places[index] = Int32(value) }
            }
        default:
            for (index, value) in input.values.enumerated() { array[index] = NSNumber(value: value) }
        }
        return array
    }
}
