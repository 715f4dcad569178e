import SwiftUI

/// What the camera sees, with boxes around what was found.
struct DetectionView: View {
    @StateObject private var looking: Looking

    init(files: DemoFiles) {
        _looking = StateObject(wrappedValue: Looking(files))
    }

    var body: some View {
        VStack(spacing: 12) {
            if let picture = looking.picture {
                Image(decorative: picture, scale: 1).resizable().aspectRatio(contentMode: .fit)
                    .overlay { boxes(on: picture) }
            }
            Text(looking.text).padding(.horizontal)
        }
        .task { await looking.start() }
        .onDisappear { looking.stop() }
    }

    private func boxes(on picture: CGImage) -> some View {
        Canvas { canvas, size in
            let factor = Double(size.width) / Double(picture.width) / looking.scale
            for one in looking.found {
                let corner = CGPoint(x: one.left * factor, y: one.top * factor)
                let extent = CGSize(width: (one.right - one.left) * factor, height: (one.bottom - one.top) * factor)
                canvas.stroke(Path(CGRect(origin: corner, size: extent)), with: .color(.yellow), lineWidth: 2)
                let name = Text("\(one.label) \(Int((100 * one.score).rounded())) %").font(.caption2)
                canvas.draw(name.foregroundStyle(.yellow), at: corner, anchor: .bottomLeading)
            }
        }
    }
}

@MainActor
private final class Looking: ObservableObject {
    @Published var picture: CGImage?
    @Published var found: [Detection] = []
    @Published var scale = 1.0 // from the picture to what the network reads
    @Published var text = "Starting…"

    private let files: DemoFiles
    private let camera = Camera()

    init(_ files: DemoFiles) {
        self.files = files
    }

    func start() async {
        do {
            let detector = try await Detector(files, files.models(nil)[0])
            try await camera.start { [weak self] picture in self?.look(at: picture, with: detector) }
        } catch {
            text = error.localizedDescription
        }
    }

    func stop() {
        camera.stop()
    }

    /// On the camera's own queue, which drops pictures meanwhile.
    nonisolated private func look(at picture: CGImage, with detector: Detector) {
        let (width, height) = (detector.width, detector.height)
        let fitted = picture.fitted(width: width, height: height, padding: detector.padding)
        guard let (pixels, scale) = fitted else { return }
        let answered = Result { try detector.answer(to: pixels) }
        Task { @MainActor in
            self.picture = picture
            self.scale = scale
            switch answered {
            case .success(let found):
                self.found = found
                text = found.isEmpty ? "nothing found" : Self.counted(found)
            case .failure(let error):
                text = error.localizedDescription
            }
        }
    }

    /// How many of each: "1 Platelets, 14 RBC".
    private static func counted(_ found: [Detection]) -> String {
        let counts = Dictionary(grouping: found, by: \.label).mapValues(\.count)
        return counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    }
}
