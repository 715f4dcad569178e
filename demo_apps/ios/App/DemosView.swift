import SwiftUI

/// The three demos, each on the files of a folder of its own.
struct DemosView: View {
    let folder: URL

    var body: some View {
        TabView {
            SpeechView(files: files("speech")).tabItem { Label("Speech", systemImage: "waveform") }
            DetectionView(files: files("detection")).tabItem { Label("Detection", systemImage: "viewfinder") }
            TranslationView(files: files("translation"))
                .tabItem { Label("Translation", systemImage: "character.bubble") }
        }
    }

    /// It is made, so that Finder and the Files app show where files go.
    private func files(_ demo: String) -> DemoFiles {
        let own = folder.appendingPathComponent(demo)
        try? FileManager.default.createDirectory(at: own, withIntermediateDirectories: true)
        return DemoFiles(folder: own)
    }
}

extension DemoFiles {
    /// The package, compiled and loaded wherever Core ML likes; its functions by name, or its only one.
    func models(_ functions: String?...) async throws -> [Model] {
        let runtime = CoreMLRuntime()
        try await runtime.compile(package())
        return try functions.map { try runtime.load(.all, function: $0) }
    }
}
