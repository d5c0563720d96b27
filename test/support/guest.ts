/**
 * A machine of its own for a test: a Linux guest in qemu that has the files of this one, read-only beneath a layer in
 * memory, and no network but its loopback. For what a namespace cannot show: systemd as process 1, the kernel's own NFS
 * client. Emulated, since /dev/kvm may be there and not work; GUEST_ACCEL=kvm takes it.
 *
 *   this host's /  --9p, read-only-->  /lower  \
 *                            tmpfs -->  /upper  -> overlay, the guest's /   (all that a script changes ends with it)
 */

import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Kernel, kernel } from './kernel.js';
import { HELPERS, MAX_OUTPUT_BYTES, root } from './sandbox.js';

/** How a guest is started. */
export interface GuestOptions {
  /** Time for all of it, in milliseconds; the guest is then ended. Default 80 s: a boot takes 5 s, with systemd 12 s. */
  readonly limitMs?: number;
  /** Whether systemd is process 1, and the script a service of it. Default false. */
  readonly systemd?: boolean;
  /** Kernel modules that are loaded before the script; those the kernel asks for come by themselves. */
  readonly modules?: readonly string[];
  /** Default 1024. Files that the script writes are in it. */
  readonly memoryMiB?: number;
}

/** How a guest ended. */
export interface GuestOutcome {
  /** Exit code of the script; null where the guest ended, or was ended, before it. */
  readonly code: number | null;
  /** What the script wrote to standard output and standard error. */
  readonly output: string;
  /** What the kernel and process 1 wrote. */
  readonly console: string;
}

const LIMIT_MS = 80_000;
const MEMORY_MIB = 1024;
const PREPARE_MS = 30_000;
/** Modules for the root of the guest. */
const ROOT_MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];
/** The last line of the output; the exit code follows. */
const END = 'guest: script ended with ';

/**
 * Boots a guest, runs a bash script in it as root and switches it off. As in a sandbox the project is at /run/project,
 * `$BIN` is the folder of the built commands, and `wait_for COMMAND...` polls. Throws where a program that `guest` in
 * describeWith looks for is not here.
 */
export async function bootGuest(script: string, options: GuestOptions = {}): Promise<GuestOutcome> {
  const found = kernel();
  if (typeof found === 'string') throw new Error(`not there: ${found}`);
  const folder = mkdtempSync(path.join(tmpdir(), 'guest-'));
  try {
    const archive = initramfs(folder, found, script, options);
    return await runQemu(folder, found, archive, options);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runQemu(
  folder: string,
  { image }: Kernel,
  archive: string,
  options: GuestOptions,
): Promise<GuestOutcome> {
  const log = path.join(folder, 'console');
  const args = [
    ...['-M', 'q35', '-accel', process.env['GUEST_ACCEL'] ?? 'tcg,thread=multi', '-cpu', 'max', '-smp', '2'],
    ...['-m', String(options.memoryMiB ?? MEMORY_MIB), '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-kernel', image, '-initrd', archive],
    ...['-append', 'console=ttyS0 loglevel=4 panic=-1'],
    ...['-serial', `file:${log}`, '-chardev', 'stdio,id=output,signal=off', '-serial', 'chardev:output'],
    ...['-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap'],
    ...['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host', '-device', 'virtio-rng-pci'],
  ];
  return new Promise((resolve, reject) => {
    // The guest ends with the process that started it, however that ends.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.limitMs ?? LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    let text = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      if (text.length < MAX_OUTPUT_BYTES) text += more;
    });
    child.stderr.setEncoding('utf8').on('data', (more: string) => (errors += more));
    child.on('error', reject);
    child.on('close', () => {
      const end = new RegExp(`(?:^|\n)${END}(\\d+)\n$`).exec(text);
      resolve({
        code: end === null ? null : Number(end[1]),
        output: end === null ? text : text.slice(0, end.index + 1),
        console: consoleOf(log) + errors,
      });
    });
  });
}

function consoleOf(log: string): string {
  try {
    return readFileSync(log, 'utf8');
  } catch {
    return '';
  }
}

/** What the kernel starts from: busybox, the modules for the root, and how the root is made. Returns the archive's path. */
function initramfs(
  folder: string,
  { version, root: at }: Kernel,
  script: string,
  options: GuestOptions,
): string {
  const tree = path.join(folder, 'tree');
  mkdirSync(path.join(tree, 'guest'), { recursive: true });
  const busybox = programPath('busybox');
  copyFileSync(busybox, path.join(tree, 'busybox'));
  const order = modulePaths(version, at);
  for (const file of order) copyFileSync(file, path.join(tree, path.basename(file)));
  const put = (name: string, text: string, mode = 0o644): void =>
    writeFileSync(path.join(tree, name), text, { mode });
  put('init', init(order, version, at, options.systemd ?? false), 0o755);
  put('guest/script', `set -eu\n${HELPERS}${script}`);
  put('guest/run', runner(options.modules ?? []));
  for (const [name, text] of Object.entries(UNITS)) put(`guest/${name}`, text);
  const archive = path.join(folder, 'initramfs');
  const pack = 'cd "$1" && find . | cpio -o -H newc --quiet >"$2"';
  execFileSync('bash', ['-c', pack, 'pack', tree, archive], { timeout: PREPARE_MS });
  return archive;
}

function programPath(name: string): string {
  const text = execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  return text.trim();
}

/** Files of the modules for the root, each after those that it needs. */
function modulePaths(version: string, at: string): string[] {
  const all = ROOT_MODULES.flatMap((name) => {
    const text = execFileSync('modprobe', ['-d', at, '-S', version, '--show-depends', name], {
      encoding: 'utf8',
      timeout: PREPARE_MS,
      env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
    });
    return [...text.matchAll(/^insmod (\S+)/gm)].map((match) => match[1] ?? '');
  });
  return [...new Set(all)];
}

/** Process 1 until the root is there. */
function init(modules: readonly string[], version: string, at: string, isSystemd: boolean): string {
  return `#!/busybox sh
b=/busybox
fail() { echo "guest: cannot $1"; $b poweroff -f; }
$b mkdir -p /proc /dev /lower /upper /root
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
${modules.map((file) => `$b insmod /${path.basename(file)} || fail 'load ${path.basename(file)}'`).join('\n')}
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /lower || fail 'mount the files of the host'
$b mount -t tmpfs -o mode=755 upper /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root || fail 'lay memory over them'

# Nothing of the host's set-up: its services, file systems and log, nor what makes units of it at each daemon-reload. systemd would take a container's mark for true.
$b rm -rf /root/etc/systemd/system /root/etc/init.d /root/var/log/journal /root/.dockerenv
$b mkdir -p /root/etc/systemd/system /root/etc/init.d
echo >/root/etc/fstab
echo 6775657374206f662061207465737400 >/root/etc/machine-id

$b mkdir -p /root/proc /root/sys /root/dev /root/run /root/tmp /root/lib/modules
$b mount -t tmpfs -o mode=1777 tmp /root/tmp
$b mount -t tmpfs -o mode=755 run /root/run
$b mkdir -p /root/run/project /root/run/rpcbind /root/run/systemd/system /root/run/systemd/system-generators /root/lib/modules/${version}
$b mount --bind "/lower${at}/lib/modules/${version}" /root/lib/modules/${version} || fail 'find the modules'
$b mount --bind "/root${root}" /root/run/project || fail 'find the project'
$b cp -r /guest /root/run/guest
$b cp /guest/guest.* /root/run/systemd/system
for unit in ${MASKED.join(' ')}; do $b ln -s /dev/null /root/run/systemd/system/$unit; done
for file in /root/lib/systemd/system-generators/*; do
  $b ln -s /dev/null /root/run/systemd/system-generators/\${file##*/}
done
$b mount --move /dev /root/dev
${isSystemd ? START_SYSTEMD : START_SCRIPT}
`;
}

const START_SYSTEMD = `$b umount /proc
exec $b switch_root -c /dev/console /root /lib/systemd/systemd --unit=guest.target --show-status=no`;

const START_SCRIPT = `$b mount -t sysfs sys /root/sys
$b mount --move /proc /root/proc
$b mount -t cgroup2 cgroup /root/sys/fs/cgroup
$b ifconfig lo up
exec $b switch_root -c /dev/console /root /bin/bash /run/guest/run`;

/** Parts of systemd that a guest without devices and a past does not need; half of the time of a boot. */
const MASKED = [
  'systemd-udevd.service',
  'systemd-udev-trigger.service',
  'systemd-udevd-control.socket',
  'systemd-udevd-kernel.socket',
  'systemd-random-seed.service',
  'systemd-binfmt.service',
  'systemd-update-utmp.service',
  'systemd-hwdb-update.service',
  'systemd-journal-catalog-update.service',
  'systemd-modules-load.service',
  'systemd-sysusers.service',
  'proc-sys-fs-binfmt_misc.automount',
  'kmod-static-nodes.service',
];

const UNITS = {
  'guest.target': `[Unit]
Requires=guest.service
`,
  'guest.service': `[Unit]
Requires=basic.target
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /run/guest/run
StandardOutput=null
`,
};

/** Runs the script, says how it ended, waits until all was sent, and switches off. */
function runner(modules: readonly string[]): string {
  return `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin BIN=/run/project/dist/cli HOME=/root
stty -F /dev/ttyS1 raw -echo
{
  for module in ${modules.join(' ')}; do modprobe "$module"; done
  bash /run/guest/script
  echo "${END}$?"
} </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
echo o >/proc/sysrq-trigger
sleep 10
`;
}
