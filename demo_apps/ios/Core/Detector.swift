import Foundation
import MobiledistillNative

/// Something that was found, in pixels of the picture that the network reads.
struct Detection {
    let left: Double
    let top: Double
    let right: Double
    let bottom: Double
    let score: Double
    let label: String
}

/// What is in a picture, and where.
final class Detector {
    private struct Facts: Decodable {
        struct Image: Decodable {
            let width: Int
            let height: Int
            let padding: Int
        }

        let classes: [String]
        let image: Image
        let leastScore: Float
        let mostOverlap: Float

        enum CodingKeys: String, CodingKey {
            case classes, image
            case leastScore = "least_score"
            case mostOverlap = "most_overlap"
        }
    }

    private static let most = 100
    private let model: Model
    private let facts: Facts

    /// What the network reads; a picture of another shape fills the upper left, the rest is this grey.
    var width: Int { facts.image.width }
    var height: Int { facts.image.height }
    var padding: Int { facts.image.padding }

    init(_ files: DemoFiles, _ model: Model) throws {
        self.model = model
        facts = try files.json("detection.json", as: Facts.self)
        guard !facts.classes.isEmpty else { throw Refused("detection.json names no classes: copy it again") }
    }

    /// - Parameter pixels: red, green, blue and one byte more of each pixel, row by row.
    func answer(to pixels: [UInt8]) throws -> [Detection] {
        let area = width * height
        guard pixels.count == 4 * area else { throw Refused("the picture is not \(width) x \(height)") }
        var planes = [Double](repeating: 0, count: 3 * area)
        for colour in 0..<3 {
            for place in 0..<area { planes[colour * area + place] = Double(pixels[4 * place + colour]) / 255 }
        }
        let image = Input(shape: [1, 3, height, width], type: .float32, values: planes)
        let answered = try model.answer(to: ["image": image])
        guard let boxes = answered["boxes"]?.values, let scores = answered["scores"]?.values,
            boxes.count / 4 == scores.count / facts.classes.count
        else { throw Refused("the package is none of the detection demo") }
        let probabilities = scores.map { 1 / (1 + exp(-$0)) }
        var found = [md_detection](repeating: md_detection(), count: Self.most)
        let count = md_keep_best(
            boxes, probabilities, boxes.count / 4, facts.classes.count, facts.leastScore, facts.mostOverlap, Self.most,
            &found)
        guard count >= 0 else { throw Refused("memory is short") }
        return found.prefix(count).map { one in
            Detection(
                left: Double(one.box.0),
                top: Double(one.box.1),
                right: Double(one.box.2),
                bottom: Double(one.box.3),
                score: Double(one.score),
                label: facts.classes[Int(one.label)]
            )
        }
    }
}
