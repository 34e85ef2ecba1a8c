#!/usr/bin/env node
/** `facet`: finds the sub-command and runs it. */
import { Command } from 'commander'
import { VERSION } from './host/package.js'

/** Each command is loaded only when it is called, so that `serve` does not wait for the compiler to load. */
const commands = new Map<string, () => Promise<Command>>(
  Object.entries({
    serve: async () => {
      const [{ serveCommand }, { serve }] = await Promise.all([
        import('./config/config.js'),
        import('./serve/main.js'),
      ])
      return serveCommand(serve)
    },
    family: async () => (await import('./commands/family.js')).familyCommand(),
    pack: async () => (await import('./commands/pack.js')).packCommand(),
    store: async () => (await import('./commands/store.js')).storeCommand(),
  }),
)

const program = new Command('facet')
  .description('One frozen backbone, many domains: an inference server for universal parametric families.')
  .version(VERSION)
  .showHelpAfterError('Try --help.')

try {
  // Without a known subcommand (e.g. --help), load all of them so that help lists them.
  const called = commands.get(process.argv[2] ?? '')
  for (const load of called ? [called] : commands.values()) program.addCommand(await load())
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`facet: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
