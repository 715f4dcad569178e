plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "mobiledistill.benchmark"
    compileSdk = 35

    defaultConfig {
        applicationId = "mobiledistill.benchmark"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "1"
    }

    buildTypes {
        release {
            // Signed with the debug key: it is installed by adb, never published.
            signingConfig = signingConfigs.getByName("debug")
        }
    }

    // The runtimes load libraries of the phone's maker by path.
    packaging { jniLibs { useLegacyPackaging = true } }
}

kotlin { jvmToolchain(17) }

dependencies {
    implementation(project(":core"))
    implementation("com.google.ai.edge.litert:litert:2.3.0")
    implementation("com.google.ai.edge.litert:litert-gpu:2.3.0")
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.32.0")
    // The demos': permissions, and frames of the camera.
    implementation("androidx.activity:activity-ktx:1.9.3")
    implementation("androidx.camera:camera-camera2:1.4.1")
    implementation("androidx.camera:camera-lifecycle:1.4.1")
}
