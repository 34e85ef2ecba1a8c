#!/usr/bin/env node
/** `facet`: takes the signals over, then finds the sub-command and runs it. */
import type { Command } from 'commander'
import { runAsInit } from './serve/init.js'
import { refuseDebugger, StopSignals } from './serve/signals.js'

const called = process.argv[2] ?? ''
const signals = new StopSignals()

/** Each command is loaded only when it is called, so that `serve` does not wait for the compiler to load. */
const commands = new Map<string, () => Promise<Command>>(
  Object.entries({
    serve: async () => {
      const [{ serveCommand }, { serve }] = await Promise.all([
        import('./config/config.js'),
        import('./serve/main.js'),
      ])
      return serveCommand((config) => serve(config, signals))
    },
    family: async () => (await import('./commands/family.js')).familyCommand(),
    compress: async () => (await import('./commands/compress.js')).compressCommand(),
    pack: async () => (await import('./commands/pack.js')).packCommand(),
    predict: async () => (await import('./commands/remote/predict.js')).predictCommand(),
    embed: async () => (await import('./commands/remote/predict.js')).embedCommand(),
    domains: async () => (await import('./commands/remote/domains.js')).domainsCommand(),
    families: async () => (await import('./commands/remote/families.js')).familiesCommand(),
    profile: async () => (await import('./commands/remote/profile.js')).profileCommand(),
    store: async () => (await import('./commands/store.js')).storeCommand(),
  }),
)

async function run(): Promise<void> {
  const [{ Command }, { VERSION }] = await Promise.all([import('commander'), import('./host/package.js')])
  const program = new Command('facet')
    .description('One frozen backbone, many domains: an inference server for universal parametric families.')
    .version(VERSION)
    .showHelpAfterError('Try --help.')
  try {
    // Without a known subcommand (e.g. --help), load all of them so that help lists them.
    const load = commands.get(called)
    for (const each of load ? [load] : commands.values()) program.addCommand(await each())
    await program.parseAsync()
  } catch (error) {
    process.stderr.write(`facet: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}

if (called === 'serve') refuseDebugger()
if (called === 'serve' && process.pid === 1) {
  runAsInit()
} else {
  // A reader that has seen enough (`facet domains ls | head`) ends a command.
  if (called !== 'serve')
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit()
    })
  // Before anything heavy is loaded. Other commands keep the default actions: they may compute for seconds.
  if (called === 'serve') signals.listen()
  await run()
}
