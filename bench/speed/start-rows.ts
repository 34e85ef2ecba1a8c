/** Time from the start of the compiled program until `/readyz` succeeds, with the demo family. */
import { cp, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { randomPack } from '../networks.js'
import { fillStore, PackPress, writeSeeds } from '../packs.js'
import type { BenchOptions, Group, Measured, Row } from './rows.js'
import { startServer } from '../server.js'
import { median, spread } from '../statistics.js'

interface StartRig {
  family: string
  /** A folder of ten packs: the shipped ones, and synthetic ones if fewer are shipped. */
  ten: string
  /** A data folder with many domains. */
  data: string
}

async function open({ dir, only, many }: BenchOptions): Promise<StartRig> {
  const family = await readFamily(packageFile('models/resnet26-half'))
  const ten = join(dir, 'ten')
  await mkdir(ten, { recursive: true })
  const shipped = packageFile('adapters/resnet26-half')
  const packs = (await readdir(shipped)).filter((name) => name.endsWith('.safetensors')).slice(0, 10)
  for (const name of packs) await cp(join(shipped, name), join(ten, name))
  const press = new PackPress(family, randomPack(family, 1, 10))
  await writeSeeds(ten, press, 10 - packs.length)
  const data = join(dir, 'data-start')
  if (only.length === 0 || only.includes('start_ms_1000')) await fillStore(data, family, press, many)
  return { family: family.dir, ten, data }
}

async function starts(args: string[], atLeast: number, seconds: number): Promise<number[]> {
  const times: number[] = []
  const end = performance.now() + seconds * 1000
  while (times.length < atLeast || (performance.now() < end && times.length < 15)) {
    const began = performance.now()
    const server = await startServer(['--log-level', 'info', ...args])
    try {
      while (!(await fetch(`${server.url}/readyz`)).ok) await new Promise((resolve) => setTimeout(resolve, 2))
      times.push(performance.now() - began)
    } finally {
      await server.stop()
    }
  }
  return times
}

function measured(key: string, times: number[]): Measured {
  return { values: { [key]: median(times) }, detail: `${spread(times, 0)} ms` }
}

const rows: Row<StartRig>[] = [
  {
    keys: ['start_ms_10'],
    what: 'start to ready, ten domains, ms',
    target: '<= 1000',
    measure: async ({ family, ten }, { seconds }) =>
      measured('start_ms_10', await starts(['--family', family, '--adapters', ten], 3, seconds / 2)),
  },
  {
    keys: ['start_ms_1000'],
    what: 'start to ready, ten seeds and 1,000 packs in the store, ms',
    target: '<= 3000',
    measure: async ({ family, ten, data }, { seconds }) => {
      const args = ['--family', family, '--adapters', ten, '--data', data]
      return measured('start_ms_1000', await starts(args, 3, seconds / 2))
    },
  },
]

export const startRows: Group<StartRig> = { name: 'start', rows, open, close: async () => {} }
