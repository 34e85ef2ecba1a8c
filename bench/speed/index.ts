/** `npm run bench`: measures every row of the performance table; prints a table, then one JSON line. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Option } from 'commander'
import { command } from '../command.js'
import { machine } from '../machine.js'
import { engineRows } from './engine-rows.js'
import { memoryRows } from './memory-rows.js'
import { plotRows, writePlots } from './plots.js'
import { jsonLine, keys, table } from './report.js'
import { type BenchOptions, defaults, type RowResult, runGroup } from './rows.js'
import { measureRuntime, runtimes } from './runtime.js'
import { serviceRows } from './service-rows.js'
import { startRows } from './start-rows.js'

async function main(): Promise<void> {
  const flags = command(
    'bench',
    'Measures the service against dedicated networks. Ends in under ten minutes on two quiet cores.',
  )
    .addOption(new Option('--only <keys...>', 'only the rows of these keys').choices(keys))
    .option('--seconds <n>', 'measuring time of a row', Number, defaults.seconds)
    .option('--domains <n>', 'number of domains of the mixed traffic', Number, defaults.domains)
    .option(
      '--many <n>',
      'number of domains of the memory row and packs of the start row',
      Number,
      defaults.many,
    )
    .option('--threads <n>', 'number of threads of a run', Number, defaults.threads)
    .addOption(new Option('--runtime <name>', 'what runs the trunk').choices(runtimes).default('stock'))
    .option('--plot [dir]', 'also measure the curves and write the plots to this folder (default: docs/img)')
    .parse()
    .opts<Partial<BenchOptions> & { plot?: string | true; runtime: (typeof runtimes)[number] }>()
  const start = performance.now()
  const dir = await mkdtemp(join(tmpdir(), 'facet-bench-'))
  const { plot, runtime, ...given } = flags
  measureRuntime(runtime)
  const options: BenchOptions = { ...defaults, ...given, dir }
  console.error(`machine: ${JSON.stringify(machine())}`)
  const results: RowResult[] = []
  try {
    results.push(...(await runGroup(engineRows, options)))
    results.push(...(await runGroup(serviceRows, options)))
    results.push(...(await runGroup(memoryRows, options)))
    results.push(...(await runGroup(startRows, options)))
    if (plot) {
      results.push(...(await runGroup(plotRows, { ...options, only: [] })))
      const paths = await writePlots(results, plot === true ? 'docs/img' : plot)
      console.error(`plots: ${paths.join(', ') || 'none; their rows were not measured'}`)
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
  console.log(table(results))
  console.log(jsonLine(results, (performance.now() - start) / 1000))
}

await main()
