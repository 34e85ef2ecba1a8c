/** `facet domains`: the domains of a running service, listed, shown and changed. */
import { readFile, writeFile } from 'node:fs/promises'
import { Command } from 'commander'
import type { Domain, DomainDetails, FacetClient, ListedDomain } from '../../client/client.js'
import { naming } from '../../host/file-problem.js'
import { printable } from '../../shown-text.js'
import { table } from '../table.js'
import { clientOf, ending, ofService, type ServiceFlags } from './connect.js'

/** Digits of a version that people are shown. */
const SHORT = 12

type Flags = ServiceFlags & { json?: true }
type ChangeFlags = ServiceFlags & { ifVersion?: string }

export function domainsCommand(): Command {
  const domains = new Command('domains').description('list, show and change the domains of a running service')
  const add = (words: string, description: string) =>
    ofService(domains.command(words)).description(description)
  const json = (command: Command) => command.option('--json', "the service's own answer")
  const guarded = (command: Command) =>
    command.option('--if-version <version>', 'only where the domain is at this version, in full')

  json(add('ls', 'list all domains')).action((flags: Flags, command: Command) =>
    withClient(command, flags, async (client) => {
      const all: ListedDomain[] = []
      for await (const domain of client.domains()) all.push(domain)
      say(flags.json ? JSON.stringify(all, null, 2) : listing(all))
    }),
  )
  json(add('show <domain>', 'what a domain is, and its versions')).action(
    (domain: string, flags: Flags, command: Command) =>
      withClient(command, flags, async (client) => {
        const found = await client.domain(domain)
        say(flags.json ? JSON.stringify(found, null, 2) : description(found))
      }),
  )
  guarded(add('put <domain> <file>', 'register a pack: a new domain, or a new version of one'))
    .option('--stage', 'register the version without activating it')
    .option('--create', 'only where there is no such domain')
    .action(
      (
        domain: string,
        file: string,
        flags: ChangeFlags & { stage?: true; create?: true },
        command: Command,
      ) =>
        withClient(command, flags, async (client) => {
          const pack = await naming('The pack', file, 'Name a .safetensors file.', () => readFile(file))
          const { uploaded, version, family } = await client.put(domain, pack, {
            ...ifVersion(flags),
            activate: flags.stage !== true,
            create: flags.create === true,
          })
          const state = uploaded === version ? 'active' : `staged; ${short(version)} is active`
          say(`${domain}: ${short(uploaded)} of family ${family ?? 'none'} is ${state}`)
        }),
    )
  guarded(add('activate <domain> <version>', 'switch a domain to one of its versions')).action(
    (domain: string, version: string, flags: ChangeFlags, command: Command) =>
      withClient(command, flags, async (client) =>
        sayActive(await client.activate(domain, version, ifVersion(flags))),
      ),
  )
  for (const [word, pinned] of [
    ['pin', true],
    ['unpin', false],
  ] as const)
    guarded(
      add(`${word} <domain>`, pinned ? 'keep a domain in memory' : 'let a domain leave memory again'),
    ).action((domain: string, flags: ChangeFlags, command: Command) =>
      withClient(command, flags, async (client) => {
        await client.pin(domain, pinned, ifVersion(flags))
        say(`${domain}: ${pinned ? 'pinned' : 'no longer pinned'}`)
      }),
    )
  guarded(add('rm <domain>', 'delete a domain with all its versions, or one version'))
    .option('--pack-version <version>', 'only this one, which must not be active')
    .action((domain: string, flags: ChangeFlags & { packVersion?: string }, command: Command) =>
      withClient(command, flags, async (client) => {
        const { packVersion: version } = flags
        await client.remove(domain, { ...ifVersion(flags), ...(version !== undefined && { version }) })
        say(`${domain}: ${version === undefined ? 'deleted' : `${short(version)} deleted`}`)
      }),
    )
  add('pull <domain>', 'download the pack of a domain')
    .option('--pack-version <version>', 'of this version (default: of the active one)')
    .option('--out <file>', 'where to write it (default: the domain and the version in this folder)')
    .option('--force', 'write over a file that is there')
    .action(
      (
        domain: string,
        flags: ServiceFlags & { packVersion?: string; out?: string; force?: true },
        command: Command,
      ) => withClient(command, flags, (client) => pull(client, domain, flags)),
    )
  return domains
}

function withClient(
  command: Command,
  flags: ServiceFlags,
  work: (client: FacetClient) => Promise<void>,
): Promise<void> {
  return ending(command, async () => work(await clientOf(flags)))
}

async function pull(
  client: FacetClient,
  domain: string,
  { packVersion: wanted, out, force }: { packVersion?: string; out?: string; force?: true },
): Promise<void> {
  const { version, bytes } = await client.pack(domain, wanted === undefined ? {} : { version: wanted })
  const file = out ?? `${domain}-${short(version)}.safetensors`
  const remedy = 'Name another with --out, or write over it with --force.'
  await naming('The file (--out)', file, remedy, () => writeFile(file, bytes, { flag: force ? 'w' : 'wx' }))
  say(`${file}: ${bytes.length.toLocaleString('en')} bytes, version ${version}`)
}

function listing(domains: readonly ListedDomain[]): string {
  const rows = domains.map(({ domain, version, family, classes, residency, pinned, version_count }) => [
    domain,
    short(version),
    family ?? '-',
    String(classes),
    pinned ? `${residency}, pinned` : residency,
    String(version_count),
  ])
  return table([['domain', 'version', 'family', 'classes', 'state', 'versions'], ...rows])
}

/** Every text of the pack is a customer's. */
function description({ domain, card, versions, family, residency, pinned }: DomainDetails): string {
  const metrics = Object.entries(card?.metrics ?? {}).map(
    ([name, value]) => `${name} ${JSON.stringify(value)}`,
  )
  const rows: [string, string | null | undefined][] = [
    ['domain', domain],
    ['name', card?.name],
    ['description', card?.description],
    ['licence', card?.license],
    ['family', family],
    ['state', pinned ? `${residency}, pinned` : residency],
    ['input', card?.input && `${card.input.height} x ${card.input.width}`],
    [
      'labels',
      card?.labels &&
        `${card.labels.length}: ${card.labels.slice(0, SHORT).join(', ')}${card.labels.length > SHORT ? ', ...' : ''}`,
    ],
    ['metrics', metrics.join(', ')],
  ]
  const fields = rows.flatMap(([name, value]) => (value ? [`${name.padEnd(12)} ${printable(value)}`] : []))
  const list = versions.map(({ version, created, bytes, active }) => [
    active ? '*' : '',
    short(version),
    created || '-',
    bytes.toLocaleString('en'),
  ])
  return [...fields, '', table([['', 'version', 'created', 'bytes'], ...list])].join('\n')
}

function sayActive({ domain, version, family }: Domain): void {
  say(`${domain}: ${short(version)} of family ${family ?? 'none'} is active`)
}

function ifVersion({ ifVersion }: ChangeFlags): { ifVersion?: string } {
  return ifVersion === undefined ? {} : { ifVersion }
}

function short(version: string | null): string {
  return version === null ? 'none' : version.slice(0, SHORT)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
