/**
 * `npm run native:build`: builds the native runtime with cargo, and puts it where the program looks for it
 * (`native/build/`). With `--faults`, the build that tests inject faults into, beside it.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'

const faults = process.argv.includes('--faults')
const folder = import.meta.dirname
const target = join(folder, 'target')
const features = faults ? ['--features', 'faults'] : []
const { status, error } = spawnSync(
  'cargo',
  ['build', '--release', '--locked', '--manifest-path', join(folder, 'Cargo.toml'), '--target-dir', target, ...features],
  { stdio: 'inherit' },
)
if (error) {
  process.stderr.write(`cargo cannot be run: ${error.message}. Install Rust 1.92 or later (https://rustup.rs).\n`)
  process.exit(1)
}
if (status !== 0) process.exit(status ?? 1)

const names = { linux: 'libfacet_native.so', darwin: 'libfacet_native.dylib', win32: 'facet_native.dll' }
const built = join(target, 'release', names[process.platform] ?? names.linux)
const file = join(folder, 'build', `facet-${process.platform}-${process.arch}${faults ? '-faults' : ''}.node`)
mkdirSync(join(folder, 'build'), { recursive: true })
// A running program has the old file open: it is replaced, not written over.
copyFileSync(built, `${file}.new`)
renameSync(`${file}.new`, file)
process.stdout.write(`${file}\n`)
