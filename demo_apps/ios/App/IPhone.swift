import UIKit

/// This phone.
struct IPhone: Phone {
    let os: String
    let batteryPercent: Int?

    @MainActor
    init() {
        let device = UIDevice.current
        device.isBatteryMonitoringEnabled = true
        os = device.systemVersion
        batteryPercent = device.batteryLevel < 0 ? nil : Int((100 * device.batteryLevel).rounded())
    }

    var isSimulator: Bool {
        #if targetEnvironment(simulator)
        return true
        #else
        return false
        #endif
    }

    var isLowPower: Bool { ProcessInfo.processInfo.isLowPowerModeEnabled }

    var thermalState: ThermalState {
        switch ProcessInfo.processInfo.thermalState {
        case .nominal: return .nominal
        case .fair: return .fair
        case .serious: return .serious
        case .critical: return .critical
        @unknown default: return .critical // a state that this app does not know is none to measure in
        }
    }

    var memoryBytes: Int? {
        var told = task_vm_info_data_t()
        let words = MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size
        var count = mach_msg_type_number_t(words)
        let status = withUnsafeMutablePointer(to: &told) { whole in
            whole.withMemoryRebound(to: integer_t.self, capacity: words) { parts in
                task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), parts, &count)
            }
        }
        return status == KERN_SUCCESS ? Int(told.phys_footprint) : nil
    }
}
