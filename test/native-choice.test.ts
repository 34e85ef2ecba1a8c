/** Which runtime a service gets, and what is said where the native one cannot be had. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadNative, type NativeAddon } from '../src/native/addon.js'
import type { Device } from '../src/engine/runtime/runtime.js'
import { chooseRuntime, tellCopies } from '../src/serve/runtime.js'
import { family } from './engine-rig.js'

const unused = () => {
  throw new Error('not used here')
}
const addon: NativeAddon = {
  hasOwnOperator: false,
  hasOwnInt8: false,
  hasDeviceBank: false,
  open: unused,
  decodeJpeg: unused,
  giveBackMemory: unused,
}
const cpu: Device = { kind: 'cpu' }

type Choice = Parameters<typeof chooseRuntime>[0]

/** The choice, and what the log says. */
function choose(wanted: Partial<Choice>, load: () => NativeAddon) {
  const lines: unknown[] = []
  const log = (...line: unknown[]) => lines.push(line)
  const { native, bank } = chooseRuntime(
    { runtime: 'auto', device: cpu, bank: 'shared', bankGiven: false, ...wanted },
    { info: log, warn: log },
    load,
  )
  return { chosen: native, bank, lines }
}

const found = () => addon
const missing = () => {
  throw new Error('It is missing. Build it.')
}

t.test('auto takes the native runtime where it is, and else says once what is missed', async (t) => {
  t.same(choose({}, found), { chosen: addon, bank: 'shared', lines: [] })
  const { chosen, lines } = choose({}, missing)
  t.equal(chosen, undefined)
  t.match(lines, [
    [{ reason: 'It is missing. Build it.', missed: /one trunk for all lanes/ }, 'stock runtime'],
  ])
})

t.test('a runtime that is named is taken, or the start fails with the remedy', async (t) => {
  t.equal(choose({ runtime: 'native' }, found).chosen, addon)
  t.throws(() => choose({ runtime: 'native' }, missing), {
    message: '--runtime native: It is missing. Build it.',
  })
  t.same(choose({ runtime: 'stock' }, found), { chosen: undefined, bank: 'shared', lines: [] })
})

t.test(
  'a GPU has the bank where the native runtime is, and else each run copies, which is said',
  async (t) => {
    const onGpu = { device: { kind: 'cuda', id: 0 } as const, bank: 'device' as const }
    const able = { ...addon, hasDeviceBank: true }
    t.same(
      choose(onGpu, () => able),
      { chosen: able, bank: 'device', lines: [] },
    )
    for (const [load, reason] of [
      [missing, /missing/],
      [found, /an earlier one.*npm run native:build/],
    ] as const) {
      const { chosen, bank, lines } = choose(onGpu, load)
      t.same([chosen, bank], [undefined, 'compact'])
      t.match(lines, [[{ reason, missed: /memory of the GPU/ }, 'stock runtime']])
      t.throws(() => choose({ ...onGpu, bankGiven: true }, load), { message: /^--bank device: / })
      t.throws(() => choose({ ...onGpu, runtime: 'native' }, load), { message: /^--runtime native: / })
    }
    const unasked = () => {
      t.fail('it is not looked for')
      return addon
    }
    t.same(choose({ ...onGpu, bank: 'compact', bankGiven: true }, unasked), {
      chosen: undefined,
      bank: 'compact',
      lines: [],
    })
  },
)

t.test('what copying costs is said of each family, where a GPU does not have the bank', async (t) => {
  const lines: unknown[] = []
  const tell = (device: Device, bank: 'compact' | 'device') => {
    lines.length = 0
    tellCopies({ device, bank, bankDtype: 'f32' }, [family], {
      warn: (...line: unknown[]) => lines.push(line),
    })
    return lines
  }
  t.match(tell({ kind: 'cuda', id: 0 }, 'compact'), [
    [{ family: 'resnet26-half', forEachDomainOfABatch: /^\d+/ }, /copies the adapters of its domains/],
  ])
  t.same(tell({ kind: 'cuda', id: 0 }, 'device'), [])
  t.same(tell(cpu, 'compact'), [])
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
