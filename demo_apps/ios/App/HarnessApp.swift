import SwiftUI

/// Measures where a computer has left a `config.json`, and shows the demos where nobody asks for anything.
@main
struct HarnessApp: App {
    private let exchange: Exchange
    private let isAsked: Bool // once: the question is taken away while the app measures

    init() {
        exchange = Exchange(folder: .documentsDirectory)
        isAsked = exchange.isAsked
    }

    var body: some Scene {
        WindowGroup {
            if isAsked {
                BenchmarkView(exchange: exchange)
            } else {
                DemosView(folder: exchange.folder)
            }
        }
    }
}
