/**
 * `npm run bench:gpu`: what a GPU makes of mixed batches, against dedicated sessions on the same GPU.
 *
 * The steps come in the order of their importance. After each the JSON is written anew, and when the time is up the
 * program ends with what it has; steps that were not reached are listed there. `--rehearse` runs all of it on the CPU with
 * the shipped families, in a few minutes. `--plots` only draws what a JSON has.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Device } from '../../src/engine/runtime/runtime.js'
import { command, positive } from '../command.js'
import { machine } from '../machine.js'
import {
  agreement,
  byDomains,
  bySize,
  memory,
  mixed,
  registration,
  settings,
  switching,
} from './engine-steps.js'
import { writePlots } from './plots.js'
import { arithmeticOf, describeDevice, Rig, type Scale } from './rig.js'
import { service } from './service-steps.js'

interface Flags {
  device: string
  minutes: number
  seconds?: number
  rehearse: boolean
  only?: string[]
  out: string
  plots?: string
}

type Step = (full: Rig, scale: Scale) => Promise<unknown>

/** One after the other, the most important first. */
const steps: Record<string, Step> = {
  agreement,
  mixed,
  by_domains: byDomains,
  switching,
  by_size: bySize,
  registration,
  settings,
  service,
  memory,
  imagenet: async (_, scale) => {
    const few = scale.rehearsal ? 4 : 64
    const small = { ...scale, domains: few, dedicated: 4, maxBatch: scale.rehearsal ? 4 : 128 }
    return withRig(Rig.imagenet(small), async (rig) => ({
      agreement: await agreement(rig),
      by_domains: await byDomains(rig),
      by_size: await bySize(rig),
    }))
  },
}

async function withRig<T>(made: Promise<Rig>, run: (rig: Rig) => Promise<T>): Promise<T> {
  const rig = await made
  try {
    return await run(rig)
  } finally {
    await rig.close()
  }
}

function scaleOf({ device: name, rehearse, seconds }: Flags): Scale | undefined {
  const match = /^(?:cpu|cuda(?::(\d+))?)$/.exec(rehearse ? 'cpu' : name)
  if (!match) return undefined
  const onCpu = rehearse || name === 'cpu'
  const device: Device = onCpu ? { kind: 'cpu' } : { kind: 'cuda', id: Number(match[1] ?? 0) }
  const shared = { device, rehearsal: rehearse }
  if (rehearse) return { ...shared, seconds: seconds ?? 1, domains: 8, dedicated: 4, maxBatch: 8 }
  return { ...shared, seconds: seconds ?? 8, domains: 256, dedicated: 64, maxBatch: onCpu ? 8 : 256 }
}

async function main(): Promise<void> {
  const program = command(
    'bench:gpu',
    'Mixed batches on a GPU against dedicated sessions; writes a JSON file.',
  )
  const flags = program
    .option('--device <device>', 'cuda, cuda:NUMBER, or cpu', 'cuda')
    .option('--minutes <n>', 'it ends by itself after so many', positive, 8)
    .option('--seconds <n>', 'of a comparison (default: 8; 1 in a rehearsal)', positive)
    .option('--rehearse', 'all steps on the CPU with the shipped families, a few minutes', false)
    .option('--only <steps...>', `some of ${Object.keys(steps).join(' ')}`)
    .option('--out <file>', 'where the JSON goes', 'bench-gpu.json')
    .option('--plots <dir>', 'draw what the JSON has into this folder, and measure nothing')
    .parse()
    .opts<Flags>()
  if (flags.plots !== undefined) {
    for (const file of await writePlots(flags.out, flags.plots)) console.log(file)
    return
  }
  const scale = scaleOf(flags) ?? program.error(`error: --device ${flags.device}: cpu, cuda or cuda:NUMBER`)
  await measure(scale, flags)
}

async function measure(scale: Scale, { minutes, only, out }: Flags): Promise<void> {
  const began = performance.now()
  const left = () => minutes * 60_000 - (performance.now() - began)
  const arithmetic = arithmeticOf(scale.device)
  const result = {
    device: describeDevice(scale.device),
    // Of each side, unless a step says otherwise.
    arithmetic: { device: arithmetic, stock: arithmetic, dedicated: arithmetic, service: arithmetic },
    machine: machine(),
    scale,
    steps: {} as Record<string, unknown>,
    seconds: {} as Record<string, number>,
    failed: {} as Record<string, string>,
    not_reached: Object.keys(steps).filter((name) => only === undefined || only.includes(name)),
  }
  const write = () => {
    writeFileSync(`${out}.new`, `${JSON.stringify(result, null, 2)}\n`)
    renameSync(`${out}.new`, out)
  }
  write()
  const dir = await mkdtemp(join(tmpdir(), 'facet-gpu-'))
  // A run in another thread cannot be waited for here, nor ended: the process ends with it.
  const timer = setTimeout(() => {
    console.error(`the ${minutes} minutes are over; ${out} has what was measured`)
    process.kill(process.pid, 'SIGKILL')
  }, left())
  let full: Rig | undefined
  try {
    full = await Rig.full(scale, dir)
    for (const [name, step] of Object.entries(steps)) {
      if (!result.not_reached.includes(name)) continue
      // What would be cut off is not begun.
      if (left() < 3000 * scale.seconds) break
      const start = performance.now()
      console.error(`${name} (${(left() / 60_000).toFixed(1)} minutes are left)`)
      try {
        result.steps[name] = await step(full, scale)
        console.error(JSON.stringify(result.steps[name]))
      } catch (error) {
        result.failed[name] = (error as Error).stack ?? String(error)
        console.error(result.failed[name])
      }
      result.seconds[name] = (performance.now() - start) / 1000
      result.not_reached = result.not_reached.filter((other) => other !== name)
      write()
    }
  } finally {
    clearTimeout(timer)
    await full?.close()
    await rm(dir, { recursive: true, force: true })
  }
  console.log(JSON.stringify(result))
}

await main()
