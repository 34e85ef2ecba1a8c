/** Which runtime a service gets, and what is said where the native one cannot be had. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadNative, type NativeAddon } from '../src/native/addon.js'
import type { Device } from '../src/engine/runtime/runtime.js'
import { chooseRuntime } from '../src/serve/runtime.js'

const unused = () => {
  throw new Error('not used here')
}
const addon: NativeAddon = {
  hasOwnOperator: false,
  hasOwnInt8: false,
  open: unused,
  decodeJpeg: unused,
  giveBackMemory: unused,
}
const cpu: Device = { kind: 'cpu' }

/** The choice, and what the log says. */
function choose(runtime: 'auto' | 'native' | 'stock', device: Device, load: () => NativeAddon) {
  const lines: unknown[] = []
  const chosen = chooseRuntime({ runtime, device }, { info: (...line: unknown[]) => lines.push(line) }, load)
  return { chosen, lines }
}

const found = () => addon
const missing = () => {
  throw new Error('It is missing. Build it.')
}

t.test('auto takes the native runtime where it is, and else says once what is missed', async (t) => {
  t.same(choose('auto', cpu, found), { chosen: addon, lines: [] })
  const { chosen, lines } = choose('auto', cpu, missing)
  t.equal(chosen, undefined)
  t.match(lines, [
    [{ reason: 'It is missing. Build it.', missed: /one trunk for all lanes/ }, 'stock runtime'],
  ])
})

t.test('a runtime that is named is taken, or the start fails with the remedy', async (t) => {
  t.equal(choose('native', cpu, found).chosen, addon)
  t.throws(() => choose('native', cpu, missing), { message: '--runtime native: It is missing. Build it.' })
  t.same(choose('stock', cpu, found), { chosen: undefined, lines: [] })
})

t.test('a device that it does not run on gets the stock runtime', async (t) => {
  const unasked = () => {
    t.fail('it is not looked for')
    return addon
  }
  t.same(choose('auto', { kind: 'cuda', id: 0 }, unasked), { chosen: undefined, lines: [] })
})

t.test('an add-on that is missing, broken or of another version is refused with the remedy', async (t) => {
  const dir = t.testdir()
  const remedy = / npm run native:build.* Rust/
  const file = join(dir, 'facet.node')
  t.throws(() => loadNative(file), {
    message: /^The native runtime is not built: .*facet\.node is missing\./,
  })
  t.throws(() => loadNative(file), { message: remedy })
  writeFileSync(file, 'no library')
  t.throws(() => loadNative(file), { message: /facet\.node cannot be loaded: / })
  t.throws(() => loadNative(file), { message: remedy })
  const other = join(dir, 'facet.cjs')
  writeFileSync(other, 'exports.INTERFACE = 0')
  t.throws(() => loadNative(other), { message: /facet\.cjs is of another version of Facet\. .*native:build/ })
})
