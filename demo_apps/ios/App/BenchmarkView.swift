import SwiftUI
import UIKit

/// Measures without anybody's help, and ends the app: the computer waits for that.
struct BenchmarkView: View {
    let exchange: Exchange

    var body: some View {
        VStack(spacing: 12) {
            ProgressView()
            Text("Measuring. Leave the phone alone until this closes.")
        }
        .task {
            UIApplication.shared.isIdleTimerDisabled = true
            let phone = IPhone()
            let measuring = Task.detached(priority: .userInitiated) { [exchange] in
                try await exchange.carryOut(with: CoreMLRuntime(), on: phone)
            }
            do {
                try await measuring.value
                print("BENCH_RESULT written")
            } catch {
                print("BENCH_RESULT not written: \(error.localizedDescription)")
            }
            exit(0)
        }
    }
}
