plugins { id("org.jetbrains.kotlin.jvm") }

kotlin { jvmToolchain(17) }
