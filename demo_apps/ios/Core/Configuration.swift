import Foundation

/// What is asked of the app, `Documents/config.json`; mobiledistill/devices/_ios.py writes it.
struct Configuration: Codable {
    let schema: Int
    /// Repeated in the result, which tells it from that of an earlier run.
    let run: String
    /// A package in the same folder.
    let model: String
    /// One of a package with several; nil where there is one.
    let function: String?
    let computeUnits: [ComputeUnits]
    let warmUp: Int
    let samples: Int
    let inputs: [String: Input]

    enum CodingKeys: String, CodingKey {
        case schema, run, model, function, samples, inputs
        case computeUnits = "compute_units"
        case warmUp = "warm_up"
    }

    static func read(_ data: Data) throws -> Configuration {
        let read = try JSONDecoder().decode(Configuration.self, from: data)
        guard read.schema == 1 else {
            throw Refused("the configuration is of schema \(read.schema), and this app knows 1: build it anew")
        }
        guard !read.model.contains("/"), !read.model.hasPrefix(".") else {
            throw Refused("the model must be a package beside the configuration: \(read.model)")
        }
        guard read.samples > 0, read.warmUp >= 0 else {
            throw Refused("at least 1 sample is needed, but \(read.samples) were asked for")
        }
        return read
    }
}

/// Where Core ML may compute, in Apple's words.
enum ComputeUnits: String, Codable, CaseIterable {
    case all, cpuAndNeuralEngine, cpuAndGPU, cpuOnly
}

/// One array that a model reads.
struct Input: Codable {
    enum ElementType: String, Codable {
        case float32, int32
    }

    let shape: [Int]
    let type: ElementType
    /// In rows; doubles hold either type.
    let values: [Double]
}

/// What was given does not fit; other failures are Core ML's.
struct Refused: LocalizedError {
    let errorDescription: String?

    init(_ message: String) {
        errorDescription = message
    }
}
